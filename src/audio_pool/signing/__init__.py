"""Sound files signed by C2PA, and what a signature says: a room of its own, as its library is large and optional."""
