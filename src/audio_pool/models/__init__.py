"""Looks model weights up, fetches them and checks them."""
