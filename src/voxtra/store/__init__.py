"""The catalogue: SQL tables and queries by subject, one set for SQLite and PostgreSQL."""
