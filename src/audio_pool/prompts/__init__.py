"""English as the product needs it: normal form, shallow grammar, word lists. Serves cache and built-in engine."""
