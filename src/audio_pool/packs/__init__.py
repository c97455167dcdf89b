"""Several sounds that belong together, made by any pool and written under names that tell them apart.

Must not know: the command line; how one sound is made.
"""
