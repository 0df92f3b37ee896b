"""What the tests of the workspace share: its root, the roster and the pyproject files."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

Tables = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def roster(root: Path) -> Tables:
    """``uv.workspace.toml``, one table per distribution."""
    return tomllib.loads((root / "uv.workspace.toml").read_text())


@pytest.fixture(scope="session")
def projects(root: Path) -> Tables:
    """The ``pyproject.toml`` of every member, by distribution name."""
    found = (tomllib.loads(path.read_text()) for path in sorted(root.glob("packages/*/pyproject.toml")))
    return {project["project"]["name"]: project for project in found}
