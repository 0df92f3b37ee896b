"""One small cluster, used as its user would: every command, and what must hold while nodes come and go."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from local_cluster import SECONDS, TREE, Terminal, fresh_database, is_gone, terminal, until

from memql.client import Client, Event, connect
from memql.graph.embedded import EmbeddedServer

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

NODES = ["identity-1", "bff-1", "bff-2", "agent-1", "cognition-1", "cognition-2"]


@pytest.fixture(scope="module")
def here(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A terminal beside a running cluster."""
    with (
        fresh_database(postgres) as dsn,
        terminal(tmp_path_factory.mktemp("home"), MEMQL_DATABASE_DSN=dsn) as opened,
    ):
        roles = ("--only", "bff,agent", "--only", "cognition", "--replicas", "bff=2,cognition=2")
        up = opened.cluster("up", "--detach", "--free-ports", *roles, "--tree", str(TREE)).require()
        assert "the cluster is up" in up.err
        yield opened


@asynccontextmanager
async def client(here: Terminal, node_id: str = "") -> AsyncIterator[Client]:
    """The owner's client of the cluster, or of one node."""
    server = here.server(node_id)
    async with connect(server.address, server.token, ca_file=server.ca_file) as opened:
        yield opened


async def write(writer: Client, *names: str) -> None:
    """Write tickets."""
    for name in names:
        await writer.execute('insert("v1:desk:ticket", id=$id, payload={title: $id})', {"id": name})


def ids(events: list[Event]) -> list[str]:
    """Which tickets events are about, without their concept."""
    return [str(event.payload["nodeId"]).removeprefix("v1:desk:ticket:") for event in events]


# --- what it shows ---------------------------------------------------------------------------------------------------


def test_every_node_is_ready_and_one_leads(here: Terminal) -> None:
    shown = here.cluster("status", "--json").require()
    cluster = json.loads(shown.out)
    nodes = {node["id"]: node for node in cluster["nodes"]}
    assert list(nodes) == NODES
    assert (cluster["running"], cluster["phase"], cluster["tls"]) == (True, "running", False)
    assert {(node["health"], node["lifecycle"], node["ready"]) for node in nodes.values()} == {("ok", "ready", True)}
    assert sum(node["leader"] for node in nodes.values()) == 1
    assert nodes["identity-1"]["lagSeconds"] is None
    assert all(nodes[name]["lagSeconds"] < 30 and nodes[name]["links"] > 0 for name in NODES[1:])


def test_the_table_has_a_line_for_each_node_and_says_how_it_is(here: Terminal) -> None:
    shown = here.cluster("status").require()
    head, *lines = shown.out.splitlines()
    columns = "NODE ROLE ADDRESS HEALTH LIFECYCLE STREAMS LINKS LAG RUNS LEADER RESTARTS UPTIME"
    assert head.split() == columns.split()
    assert [line.split()[0] for line in lines] == NODES
    assert all(" ok " in line and " ready " in line for line in lines)
    assert f"6 of 6 nodes are ready; supervisor {here.state().supervisor.pid}, running" in shown.err


def test_a_second_cluster_of_the_same_home_is_refused(here: Terminal) -> None:
    for options in (("--free-ports",), ("--free-ports", "--detach")):
        refused = here.cluster("up", *options)
        assert refused.code == 1
        assert "error FAILED_PRECONDITION: a cluster runs in this home already" in refused.err
    assert here.cluster("status").code == 0


@pytest.mark.parametrize("command", ["kill", "drain"])
def test_a_node_that_is_none_is_refused_with_those_that_are(here: Terminal, command: str) -> None:
    refused = here.cluster(command, "bff-3")
    assert refused.code == 1
    assert f"no node 'bff-3'; there are {', '.join(NODES)}" in refused.err


# --- who may do what -------------------------------------------------------------------------------------------------


def test_what_is_secret_is_for_its_owner_alone(here: Terminal) -> None:
    directory = here.place.directory
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for file in (here.place.secrets, here.place.owner_token, here.place.state, *here.place.logs.iterdir()):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads the environment of processes")
def test_each_node_knows_its_own_secret_and_only_identity_knows_them_all(here: Terminal) -> None:
    environments = {name: here.environment_of(name) for name in NODES}
    secrets = json.loads(environments["identity-1"].pop("IDENTITY_NODE_BOOTSTRAP_TOKENS"))
    seed = environments["identity-1"].pop("IDENTITY_SIGNING_KEY_B64")
    for name in NODES[1:]:
        own = environments[name].pop("MEMQL_NODE_BOOTSTRAP_TOKEN")
        assert own == secrets[name.partition("-")[0]]
    left = [value for environment in environments.values() for value in environment.values()]
    assert not {seed, *secrets.values()} & set(left)


async def test_a_stranger_is_not_served(here: Terminal) -> None:
    server = here.server()
    for token in (None, "mql_pat_" + "x" * 43):
        refused = here.memql("query", "concepts()", "--server", f"{server.address},", "--token", token or " ")
        assert refused.code == 1
        assert "UNAUTHENTICATED" in refused.err


async def test_the_commands_of_this_machine_act_as_the_owner(here: Terminal) -> None:
    async with client(here) as owner:
        access = await owner.my_access()
    assert access.role == "owner"
    assert access.primary_email.endswith("@localhost")
    assert here.memql("doctor").out.count("ok ") >= 3


# --- what it does ----------------------------------------------------------------------------------------------------


def test_the_bff_answers_with_what_was_written_through_cognition(here: Terminal) -> None:
    written = 'insert("v1:desk:ticket", id="by-cognition", payload={title: "by cognition"})'
    here.memql("query", written, "--server", "cognition-1").require()
    rows = here.rows("queryTickets()")
    assert "by cognition" in [row["payload"]["title"] for row in rows]


async def test_an_event_of_one_cognition_reaches_the_clients_of_both_bffs_once(here: Terminal) -> None:
    async with (
        client(here, "bff-1") as first,
        client(here, "bff-2") as second,
        client(here, "cognition-2") as writer,
        first.subscribe("v1:desk:ticket") as at_first,
        second.subscribe("v1:desk:ticket") as at_second,
    ):
        names = [f"both-{number}" for number in range(20)]
        await write(writer, *names)
        for events in (at_first, at_second):
            assert ids([await events.next(20) for _ in names]) == names


async def test_an_embedding_is_computed_on_the_agent(here: Terminal) -> None:
    async with client(here, "bff-1") as owner:
        found = await owner.si.embed(["a heron", "an engine"])
    assert (len(found.vectors), found.dims) == (2, 256)


async def test_an_automation_runs_once_on_two_replicas(here: Terminal) -> None:
    async with client(here, "cognition-1") as writer:
        names = [f"once-{number}" for number in range(25)]
        await write(writer, *names)
        wanted = {f"v1:desk:ticket:{name}" for name in names}
        made: list[Any] = []
        with anyio.fail_after(60):
            while not wanted <= {row["payload"]["ticketId"] for row in made}:
                await anyio.sleep(0.1)
                made = list((await writer.execute("concept==v1:desk:receipt")).rows)
    about = [row["payload"]["ticketId"] for row in made]
    assert sorted(ticket for ticket in about if ticket in wanted) == sorted(wanted)


def test_rows_are_imported_beside_it_and_seen_through_it(here: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "tickets.csv"
    file.write_text("id,title\nimported,an imported one\n")
    here.memql("import", "v1:desk:ticket", str(file), "--id", "id").require()
    assert here.rows('concept==v1:desk:ticket;payload.title=="an imported one"')


# --- when nodes come and go ------------------------------------------------------------------------------------------


def test_a_killed_node_is_started_again_and_is_what_it_was(here: Terminal) -> None:
    before = here.node("agent-1")
    killed = here.cluster("kill", "agent-1", "--wait").require()
    assert "agent-1 is killed" in killed.err
    assert "agent-1 is ready again" in killed.err
    after = here.node("agent-1")
    assert after.process != before.process
    assert after.restarts == before.restarts + 1
    assert (after.grpc, after.http, after.service) == (before.grpc, before.http, before.service)
    assert after.ending == "was killed by SIGKILL"
    until(lambda: here.memql("si", "embed", "a heron").code == 0)


async def test_draining_a_bff_leaves_its_clients_subscription_without_a_missed_or_repeated_event(
    here: Terminal,
) -> None:
    names = [f"drained-{number}" for number in range(200)]
    seen: list[Event] = []
    async with (
        client(here) as reader,
        client(here, "cognition-1") as writer,
        reader.subscribe("v1:desk:ticket") as events,
    ):
        first = reader.server.node_id

        async def read() -> None:
            while len(seen) < len(names):
                seen.append(await events.next(60))

        async def pour() -> None:
            for name in names:
                await write(writer, name)
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(pour)
            drained = await anyio.to_thread.run_sync(here.cluster, "drain", first)
        assert drained.code == 0, drained.err
        assert f"{first} is ready again" in drained.err
        assert reader.server.node_id != first
        with anyio.move_on_after(2):
            seen.append(await events.next(5))
    assert ids(seen) == names
    assert not any(event.gap_before for event in seen)
    assert here.node(first).ending == "ended"


async def test_a_client_of_the_only_address_waits_for_the_successor_and_misses_nothing(here: Terminal) -> None:
    names = [f"waited-{number}" for number in range(50)]
    async with (
        client(here, "bff-2") as reader,
        client(here, "cognition-1") as writer,
        reader.subscribe("v1:desk:ticket") as events,
    ):
        await write(writer, *names[:10])
        seen = [await events.next(20) for _ in range(10)]
        killing = anyio.to_thread.run_sync
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(killing, here.cluster, "kill", "bff-2", "--wait")
            await write(writer, *names[10:])
            seen += [await events.next(60) for _ in range(40)]
    assert ids(seen) == names


def test_identity_may_be_gone_for_a_while(here: Terminal) -> None:
    here.cluster("kill", "identity-1").require()
    assert here.rows("queryTickets()")
    until(lambda: here.status()["identity-1"]["ready"])


def test_every_node_killed_at_once_comes_back(here: Terminal) -> None:
    for node in here.state().nodes:
        assert node.process is not None
        node.process.signal(signal.SIGKILL)
    assert here.cluster("status").code == 1
    until(lambda: here.cluster("status").code == 0)
    until(lambda: here.memql("si", "embed", "a heron").code == 0)
    assert here.rows("queryTickets()")


# --- its logs --------------------------------------------------------------------------------------------------------


def test_logs_are_merged_by_time_and_say_who_and_how_bad(here: Terminal) -> None:
    shown = here.cluster("logs", "-n", "1000").require().out.splitlines()
    assert {line.split()[0] for line in shown} >= {"supervisor", *NODES}
    moments = [line.split()[1] for line in shown]
    assert moments == sorted(moments)
    assert any(" info " in line and "node agent-1 (agent) is ready" in line for line in shown)
    assert not any("\x1b" in line for line in shown)


def test_logs_of_some_nodes_and_from_some_level_leave_the_others_out(here: Terminal) -> None:
    shown = here.cluster("logs", "supervisor", "--level", "warning", "-n", "3").require().out.splitlines()
    assert 0 < len(shown) <= 3
    assert all(line.startswith("supervisor ") and " warning " in line for line in shown)
    refused = here.cluster("logs", "bff-7")
    assert refused.code == 1
    assert "no log of 'bff-7'; there are those of agent-1, bff-1" in refused.err


def test_logs_are_followed_while_they_are_written(here: Terminal, tmp_path: Path) -> None:
    out = tmp_path / "followed"
    command = [sys.executable, "-m", "memql", "cluster", "logs", "agent-1", "-f", "-n", "0"]
    with out.open("w") as file:
        following = subprocess.Popen(command, stdout=file, env=here.environment)
    try:
        until(lambda: _reload(here) and "the tree has not changed" in out.read_text())
        following.send_signal(signal.SIGINT)
        assert following.wait(SECONDS) == 130
    finally:
        following.kill()
        following.wait(SECONDS)
    assert all(line.startswith("agent-1 ") for line in out.read_text().splitlines())


def _reload(here: Terminal) -> bool:
    """Have the agent look for a change of the tree, which it logs."""
    process = here.node("agent-1").process
    return process is not None and process.signal(signal.SIGHUP)


# --- its end ---------------------------------------------------------------------------------------------------------


def test_down_leaves_no_process_and_no_trace_of_running(here: Terminal) -> None:
    state = here.state()
    pids = [state.supervisor.pid, *(node.process.pid for node in state.nodes if node.process is not None)]
    assert len(pids) == len(NODES) + 1
    assert "everything is stopped" in here.cluster("down").require().err
    assert all(map(is_gone, pids))
    for command in (("status",), ("down",), ("kill", "bff-1"), ("drain", "bff-1")):
        refused = here.cluster(*command)
        assert refused.code == 3
        assert "no cluster runs in" in refused.err
        assert "memql cluster up" in refused.err
    assert json.loads(here.cluster("status", "--json").out) == {"running": False, "nodes": []}
    assert here.cluster("logs", "-n", "1").require().out


def test_the_next_one_has_the_same_owner_secrets_and_rows(here: Terminal) -> None:
    secrets, token = here.place.secrets.read_bytes(), here.place.owner_token.read_bytes()
    up = ("up", "--detach", "--free-ports", "--only", "bff", "--tree", str(TREE))
    here.cluster(*up).require()
    assert list(here.status()) == ["identity-1", "bff-1"]
    assert here.place.owner_token.read_bytes() == token
    assert json.loads(secrets).items() == json.loads(here.place.secrets.read_bytes()).items()
    assert here.rows("queryTickets()")
    here.cluster("down").require()
