from ops_fixtures import empty_ops, ops

__all__ = ["empty_ops", "ops"]
