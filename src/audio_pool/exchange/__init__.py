"""Sounds that come from elsewhere into a cache, and a cache written out as plain files.

Must not know: the terminal, the pool's processes, what counts as a hit.
"""
