"""What travels between nodes: envelopes, messages, and the batches of events."""
