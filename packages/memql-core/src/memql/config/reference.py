"""The page of settings, from their declarations: ``python -m memql.config.reference > docs/settings.md``."""

from __future__ import annotations

import sys

from memql.config.describe import describe
from memql.config.settings import Settings, declarations

__all__ = ["reference"]

_HEAD = """# Settings

This page is generated from the declarations of the settings: do not edit it, run `make docs`.

Values come from the process environment, then from the genesis envelope, then from the default; `memql env` shows the
values in force and where each came from. A name without `MEMQL_` is also read with it. A malformed value stops the
start with an error that names the variable.

| variable | default | meaning |
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
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
