"""Requests that one node has another one answer (spec "Cross-node AI/voice forwarding", "Forwarding")."""
