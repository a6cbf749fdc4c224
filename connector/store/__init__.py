"""Everything the connector remembers, and the only place with SQL: SQLite by default, PostgreSQL for many workers."""
