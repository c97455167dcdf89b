"""Prompts as text: normal form, shallow grammar, word lists, language. Used by the cache and the built-in engine.

Owns: the package's knowledge of English.
Must not know: the store, the index, engines.
"""
