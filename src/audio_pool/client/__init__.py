"""Clients of a served pool: blocking and asyncio."""
