"""Where model weights are, how they are fetched and checked."""
