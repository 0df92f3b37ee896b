"""The HTTP surface of the identity service."""
