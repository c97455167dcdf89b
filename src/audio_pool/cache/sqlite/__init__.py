"""The Store on SQLite: rows, schema migrations, renditions."""
