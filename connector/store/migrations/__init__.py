"""Alembic migrations, run by `Store.open`."""
