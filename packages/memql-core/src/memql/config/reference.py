"""The page of settings, from their declarations: ``python -m memql.config.reference > docs/settings.md``."""

from __future__ import annotations

import sys

from memql.config.describe import describe
from memql.config.settings import Settings, declarations

__all__ = ["OTHERS", "reference"]

OTHERS = (
    ("MEMQL_SERVER", "the command", "where to connect to, as `--server`"),
    ("MEMQL_TOKEN", "the command", "the credential to show, as `--token`"),
    ("MEMQL_DEBUG", "the command", "when set, an unexpected error shows where it happened"),
    ("NO_COLOR", "the command", "when set, nothing is coloured"),
    ("POD_IP", "nodes", "the host that other nodes are told, where `MEMQL_NODE_ADDRESS` is not set"),
    (
        "MEMQL_SI_...",
        "nodes",
        'keys of model vendors, where the tree says `env("MEMQL_SI_...")`; secrets of the graph win',
    ),
)
"""What is read beside the settings: name, by whom, what for."""

_HEAD = """# Settings

This page is generated from the declarations of the settings: do not edit it, run `make docs`.

Values come from the process environment, then from the genesis envelope, then from the default; `memql env` shows the
values in force and where each came from. A name without `MEMQL_` is also read with it. A malformed value stops the
start with an error that names the variable.

| variable | default | meaning |
|---|---|---|
"""

_BESIDE = """
## Beside the settings

These are read as well, and are no part of `memql env`.

| variable | read by | meaning |
|---|---|---|
"""


def reference() -> str:
    """The whole page, as Markdown."""
    home = str(Settings().home)
    lines = []
    for declaration, row in zip(declarations(), describe(Settings()), strict=True):
        aliases = "".join(f", `{name}`" for name in declaration.names[1:])
        default = f"`{row.value}`" if row.value else ""
        default = "`~/.memql`" if row.value == home else default
        secret = " Secret." if declaration.secret else ""
        meaning = f"{declaration.doc}.{secret}"
        lines.append(f"| `{declaration.name}`{aliases} | {default} | {meaning[0].upper()}{meaning[1:]} |")
    others = [f"| `{name}` | {reader} | {meaning[0].upper()}{meaning[1:]}. |" for name, reader, meaning in OTHERS]
    return _HEAD + "\n".join(lines) + "\n" + _BESIDE + "\n".join(others) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
