"""What operators watch a pool by: metrics, probes, traces. Clients of the pool, in processes of their own."""
