"""The pool: schedule (the brain), devices, factory (processes), router (sockets), pool."""
