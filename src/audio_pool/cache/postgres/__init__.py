"""The Store on PostgreSQL, shared by several heads, each of which reads a replica of its own."""
