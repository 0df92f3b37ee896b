"""The page of settings: current, and complete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from memql.config import declarations
from memql.config.reference import OTHERS, reference

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "settings.md"

_NAMED = re.compile(r"""["']((?:MEMQL|IDENTITY|SERVER|MEMORY_NODES)_[A-Z0-9_]*)["']""")
_READ = re.compile(r"""environ(?:\.get\(|\[)["']([A-Z][A-Z0-9_]*)["']""")
_OF_THE_SYSTEM = {"PATH", "SHELL"}


def named_in_the_sources() -> Iterator[str]:
    """Every text of the packages that looks like a variable of ours, and every variable that is read by its name."""
    for file in ROOT.glob("packages/*/src/**/*.py"):
        text = file.read_text(encoding="utf-8")
        for name in {*_NAMED.findall(text), *_READ.findall(text)} - _OF_THE_SYSTEM:
            if not re.search(rf"^(?:from .* import .*\b)?{name}\b", text, re.MULTILINE):
                yield name


def test_the_committed_page_of_settings_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: make docs"


def test_every_variable_that_a_package_names_is_on_the_page() -> None:
    known = {name for declaration in declarations() for name in declaration.all_names}
    known |= {name.rstrip(".") for name, _, _ in OTHERS}
    named = set(named_in_the_sources())
    assert {"MEMQL_HOME", "MEMQL_MESH_TTL", "IDENTITY_BASE_URL", "POD_IP"} <= named
    # What is not a whole name is the beginning of several.
    assert not {name for name in named - known if not any(one.startswith(name) for one in known)}
