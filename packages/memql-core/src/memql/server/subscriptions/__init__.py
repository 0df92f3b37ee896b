"""Subscriptions: patterns, positions in the log, and delivery."""
