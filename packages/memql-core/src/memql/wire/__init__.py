"""What travels between clients and nodes: messages, their encodings and their numbers. No I/O."""
