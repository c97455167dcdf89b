"""The APIs that people already call: each file reads one's requests and writes its answers and errors."""
