"""The ``memql`` command. Modules here import what a command needs when it runs: start-up time is a
feature."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage."""
    from memql.cli.app import run

    raise SystemExit(run())
