"""How processes talk: messages, sockets, keys, and the shared-memory arena for sounds."""
