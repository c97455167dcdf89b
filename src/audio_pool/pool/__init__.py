"""The running pool: requests in, the scheduler's actions executed, workers started, replies out."""
