"""Streams to peers: how they begin, carry, and end."""
