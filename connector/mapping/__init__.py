"""Mapping files: their shape, their loading, what they mean (`compiled`), and their check against both live schemas."""
