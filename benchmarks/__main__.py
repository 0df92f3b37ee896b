"""Run benchmarks and print their table."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import platform
import re
import sys
from pathlib import Path

from benchmarks.harness import Row

SUITES = (
    "reads",
    "writes",
    "stream",
    "importing",
    "startup",
    "idle_streams",
    "automations",
    "mesh",
    "forwarding",
    "catch_up",
)
PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
HEAD = ("what", "against", "ours", "baseline", "ratio", "goal", "met")
MARKS = ("<!-- table:begin -->", "<!-- table:end -->")


def main() -> int:
    """Run the chosen suites; exit status 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="which suites; all without any")
    parser.add_argument("--update", action="store_true", help="write the table into docs/performance.md")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.suites or SUITES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += asyncio.run(importlib.import_module(f"benchmarks.{name}").run())
    print(render(rows))
    if options.update:
        update(rows)
    return 0 if all(row.met for row in rows) else 1


def render(rows: list[Row]) -> str:
    """The table in Markdown."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def update(rows: list[Row]) -> None:
    """Replace the table between the marks of the page."""
    text = PAGE.read_text()
    machine = f"Python {platform.python_version()}, {platform.machine()}."
    body = f"{MARKS[0]}\n{machine}\n\n{render(rows)}\n{MARKS[1]}"
    PAGE.write_text(re.sub(f"{MARKS[0]}.*{MARKS[1]}", lambda _: body, text, flags=re.DOTALL))


if __name__ == "__main__":
    raise SystemExit(main())
