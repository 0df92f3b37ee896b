"""``python -m memql``."""

from __future__ import annotations

from memql.cli import main

if __name__ == "__main__":
    main()
