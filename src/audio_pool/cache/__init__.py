"""The cache of finished sounds: store (the truth), index (derived), policy (what is a hit)."""
