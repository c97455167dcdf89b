"""A worker process: its threads, its tasks, mastering."""
