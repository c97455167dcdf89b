"""Sounds in an object store: the second implementation of ``cache/blobs.py``. Nothing here is imported without one."""
