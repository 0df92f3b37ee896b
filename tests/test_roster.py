"""The roster, the pyproject files, the lockfile and the entry points tell the same story."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

Tables = dict[str, dict[str, Any]]
ROLE_PORTS = {
    "bff": 50058,
    "voice": 50059,
    "cognition": 50054,
    "agent": 50055,
    "planner": 50056,
    "identity": 50061,
    "workbench": 50060,
}


def test_roster_names_exactly_the_distributions_of_the_workspace(roster: Tables, projects: Tables) -> None:
    assert set(roster) == set(projects)
    assert len(roster) == 9


def test_every_path_of_the_roster_holds_that_distribution(roster: Tables, root: Path) -> None:
    for name, entry in roster.items():
        project = tomllib.loads((root / entry["path"] / "pyproject.toml").read_text())
        assert project["project"]["name"] == name


def test_every_entry_has_the_same_columns(roster: Tables) -> None:
    columns = {
        "path": str,
        "role": str,
        "image": str,
        "base": str,
        "native": list,
        "port": int,
        "mesh": bool,
        "replicas": int,
        "grace_seconds": int,
    }
    for name, entry in roster.items():
        assert {key: type(value) for key, value in entry.items()} == columns, name


def test_ports_are_those_of_the_cluster(roster: Tables) -> None:
    assert {entry["role"]: entry["port"] for entry in roster.values() if entry["role"]} == ROLE_PORTS


def test_each_role_wheel_publishes_the_role_the_roster_gives_it(roster: Tables, projects: Tables) -> None:
    for name, entry in roster.items():
        published = projects[name]["project"].get("entry-points", {}).get("memql.roles", {})
        assert list(published) == ([entry["role"]] if entry["role"] else []), name


def test_loading_an_entry_point_gives_the_role_with_the_port_of_the_roster(roster: Tables) -> None:
    loaded = {point.name: point.load() for point in entry_points(group="memql.roles")}
    for entry in roster.values():
        if entry["role"]:
            role = loaded[entry["role"]]
            assert (role.name, role.port, role.mesh_worker) == (entry["role"], entry["port"], entry["mesh"])


def test_identity_is_never_a_mesh_worker(roster: Tables) -> None:
    outside = {entry["role"] for entry in roster.values() if entry["role"] and not entry["mesh"]}
    assert outside == {"identity"}


def test_only_voice_needs_native_libraries(roster: Tables) -> None:
    assert {entry["role"] for entry in roster.values() if entry["native"]} == {"voice"}


def test_the_lockfile_holds_every_distribution_as_a_member(roster: Tables, root: Path) -> None:
    lock = tomllib.loads((root / "uv.lock").read_text())
    assert set(roster) <= set(lock["manifest"]["members"])


def test_bounds_between_siblings_are_written_out_and_admit_the_current_version(projects: Tables) -> None:
    versions = {name: project["project"]["version"] for name, project in projects.items()}
    for name, project in projects.items():
        for requirement in project["project"]["dependencies"]:
            if match := re.fullmatch(r"(memql-\w+)(?:\[.*\])?(.*)", requirement):
                bounds = re.fullmatch(r">=(\d+)\.(\d+),<(\d+)\.(\d+)", match[2])
                assert bounds, f"{name}: write {requirement!r} as 'name>=a.b,<c.d'"
                low, high = (int(bounds[1]), int(bounds[2])), (int(bounds[3]), int(bounds[4]))
                current = tuple(int(part) for part in versions[match[1]].split(".")[:2])
                assert low <= current < high, f"{name}: {requirement!r} does not admit {versions[match[1]]}"


@pytest.mark.parametrize("file", ["README.md", "CHANGELOG.md", "LICENSE"])
def test_every_distribution_carries_its_own_papers(roster: Tables, root: Path, file: str) -> None:
    for entry in roster.values():
        assert (root / entry["path"] / file).read_text().strip(), entry["path"]


def test_every_distribution_carries_the_licence_of_the_workspace(roster: Tables, root: Path) -> None:
    for entry in roster.values():
        # A link would point out of the source distribution.
        assert not (root / entry["path"] / "LICENSE").is_symlink()
        assert (root / entry["path"] / "LICENSE").read_bytes() == (root / "LICENSE").read_bytes()


def test_grace_outlasts_prestop_drain_delay_and_stop_budget(roster: Tables) -> None:
    for name, entry in roster.items():
        if entry["role"]:
            assert entry["grace_seconds"] > 5 + 5 + 30, name
