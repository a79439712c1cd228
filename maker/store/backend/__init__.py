"""The database itself: SQLite or PostgreSQL, its tables and their migrations."""
