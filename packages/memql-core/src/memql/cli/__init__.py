"""The ``memql`` command. Modules here import what a command needs when it runs: start-up time is a
feature."""

from __future__ import annotations

import time

__all__ = ["STARTED", "main"]

STARTED = time.monotonic()
"""When this process began to be a command, for the greeting of ``memql up``."""


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage."""
    from memql.cli.app import run

    raise SystemExit(run())
