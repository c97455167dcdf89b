"""Durable jobs on disk: the journal of what was asked for and what it came to, and the files kept for it."""
