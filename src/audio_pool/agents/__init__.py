"""The door for agents: tools by the Model Context Protocol, over a pipe or over HTTP.

Owns: what an agent may ask for and how it is answered.
Must not know: how sounds are made; it is a client of a pool.
"""
