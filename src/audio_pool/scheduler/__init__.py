"""The brain of a pool: (event, now) -> actions. Pure: no clock, no socket, no file."""
