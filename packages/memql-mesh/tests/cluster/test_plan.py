from __future__ import annotations

import itertools
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.errors import Code, MemqlError
from memql.mesh.cluster.plan import Plan, choose_roles, make_plan, parse_replicas
from memql.mesh.cluster.ports import FreePorts, Ports, SeedPorts, is_free, require_free
from memql.node.roles import installed_roles, load_role

ROLES = ("agent", "bff", "cognition", "identity", "planner", "voice", "workbench")
SERVICE = {name: load_role(point).port for name, point in installed_roles().items()}


def plan(**replicas: int) -> Plan:
    return make_plan({"identity": 1, **replicas}, SeedPorts(SERVICE))


def test_identity_comes_first_and_the_hub_next() -> None:
    assert choose_roles(ROLES, ()) == ["identity", "bff", "agent", "cognition", "planner", "voice", "workbench"]
    assert choose_roles(ROLES, ("voice, agent", "agent")) == ["identity", "agent", "voice"]
    assert choose_roles(ROLES, ("identity",)) == ["identity"]


@pytest.mark.parametrize(("installed", "only"), [(ROLES, ("tailor",)), (("bff", "agent"), ())])
def test_a_role_that_is_not_installed_is_refused_with_how_to_install_it(
    installed: tuple[str, ...], only: tuple[str, ...]
) -> None:
    with pytest.raises(MemqlError, match=r"pip install memql-(tailor|identity)") as raised:
        choose_roles(installed, only)
    assert raised.value.code is Code.CONFIG_INVALID


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ((), (1, 1, 1)),
        (("bff=2",), (1, 2, 1)),
        (("bff=2,agent=3",), (1, 2, 3)),
        (("2", "identity=1"), (1, 2, 2)),
        (("agent=3", "2"), (2, 2, 2)),
    ],
)
def test_replicas_are_one_unless_said_otherwise(texts: tuple[str, ...], found: tuple[int, ...]) -> None:
    assert tuple(parse_replicas(texts, ["identity", "bff", "agent"]).values()) == found


@pytest.mark.parametrize("text", ["bff", "bff=", "bff=0", "bff=10", "bff=-1", "bff=two", "=2", "voice=2", "bff=²", ""])
def test_replicas_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(MemqlError) as raised:
        parse_replicas((text,), ["identity", "bff"])
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert "--replicas" in raised.value.message


def test_the_first_of_each_role_has_its_well_known_ports() -> None:
    nodes = {node.id: node for node in plan(bff=2, cognition=1, agent=1).nodes}
    assert list(nodes) == ["identity-1", "bff-1", "bff-2", "cognition-1", "agent-1"]
    bff = nodes["bff-1"]
    assert (bff.grpc, bff.http, bff.service) == (50051, 8085, 50058)
    assert [nodes[f"{role}-1"].service for role in ("cognition", "agent", "identity")] == [50054, 50055, 0]
    assert (nodes["bff-2"].grpc, nodes["bff-2"].http, nodes["bff-2"].service) == (50151, 8185, 50158)


@given(st.integers(0, 4000), st.lists(st.integers(1, 9), min_size=7, max_size=7))
def test_no_two_listeners_share_a_port(offset: int, counts: list[int]) -> None:
    made = make_plan(dict(zip(ROLES, counts, strict=True)), SeedPorts(SERVICE, offset))
    ports = [port for node in made.nodes for port, _ in node.ports()]
    assert len(set(ports)) == len(ports) == 3 * sum(counts) - counts[ROLES.index("identity")]


@pytest.mark.parametrize("offset", [-8095, 20_000, 10**9])
def test_an_offset_that_leaves_the_range_of_ports_is_refused(offset: int) -> None:
    with pytest.raises(MemqlError, match="ports are 1 to 65535") as raised:
        make_plan({"identity": 1}, SeedPorts(SERVICE, offset))
    assert raised.value.code is Code.CONFIG_INVALID


def test_free_ports_are_free_and_given_once() -> None:
    source = FreePorts()
    ports = list(itertools.chain.from_iterable(source.of("bff", number) for number in range(1, 20)))
    assert len(set(ports)) == len(ports) == 57
    assert all(map(is_free, ports))
    assert max(ports) < 32_000


def test_taken_ports_are_all_named_and_free_ones_are_not() -> None:
    with socket.socket() as first, socket.socket() as second:
        for taken in (first, second):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
        names = {taken.getsockname()[1]: f"HTTP of node-{number}" for number, taken in enumerate((first, second))}
        free = Ports(*FreePorts().of("bff", 1)).grpc
        with pytest.raises(MemqlError) as raised:
            require_free([*names.items(), (free, "MemqlService of bff-1")])
        assert all(f"{port} ({name})" in raised.value.message for port, name in names.items())
        assert str(free) not in raised.value.message
    require_free(names.items())


def test_clients_connect_to_the_hubs_or_to_whatever_there_is() -> None:
    def entries(**replicas: int) -> list[str]:
        return [node.id for node in plan(**replicas).entries]

    assert entries(bff=2, agent=1) == ["bff-1", "bff-2"]
    assert entries(agent=1, voice=1) == ["agent-1", "voice-1"]
    assert entries() == ["identity-1"]
