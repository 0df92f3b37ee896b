"""Which roles a process plays, and when it may run without identity."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint

import pytest

from memql.config import Settings
from memql.config.loading import load_settings
from memql.errors import Code, MemqlError
from memql.node.lifecycle import Lifecycle, State
from memql.node.roles import Role, choose_roles, load_role
from memql.server.no_auth import callers_are_verified


def test_no_role_installed_makes_a_plain_node() -> None:
    assert choose_roles([], None).node_type == "bff"
    assert choose_roles([], "agent").node_type == "agent"


def test_the_only_installed_role_wins_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        choice = choose_roles(["voice"], "agent")
    assert (choice.node_type, choice.roles) == ("voice", ("voice",))
    assert len(caplog.records) == 1
    assert "the only installed role is voice" in caplog.text


def test_among_several_the_setting_picks_and_bff_is_the_default() -> None:
    assert choose_roles(["agent", "bff"], "agent").roles == ("agent",)
    assert choose_roles(["agent", "bff"], None).roles == ("bff",)


def test_a_role_that_is_not_installed_is_refused() -> None:
    with pytest.raises(MemqlError, match="'planner', which is not installed here; there are agent, bff") as error:
        choose_roles(["bff", "agent"], "planner")
    assert error.value.code is Code.CONFIG_INVALID


def test_the_single_process_system_plays_every_role() -> None:
    assert choose_roles(["agent", "bff"], None, everything=True).roles == ("agent", "bff")


class Voice(Role):
    name = "voice"
    port = 50059


def test_a_role_is_loaded_from_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda self: Voice)
    assert isinstance(load_role(EntryPoint("voice", "x:Voice", "memql.roles")), Voice)
    with pytest.raises(MemqlError, match="not the memQL role 'agent'"):
        load_role(EntryPoint("agent", "x:Voice", "memql.roles"))


def test_a_role_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(MemqlError, match=r"'agent' \(no\.such\.module:Agent\) cannot be loaded"):
        load_role(EntryPoint("agent", "no.such.module:Agent", "memql.roles"))


def test_states_only_go_forward() -> None:
    lifecycle = Lifecycle()
    seen: list[State] = []
    lifecycle.on_change(seen.append)
    assert lifecycle.advance(State.DRAINING)
    assert not lifecycle.advance(State.READY)
    assert not lifecycle.advance(State.DRAINING)
    assert lifecycle.advance(State.STOPPED)
    assert seen == [State.DRAINING, State.STOPPED]
    assert State.READY.advertised == "HEALTHY"


def settings(**environ: str) -> Settings:
    local = {
        "MEMQL_ENVIRONMENT": "development",
        "MEMQL_GRPC_ADDRESS": "127.0.0.1:0",
        "SERVER_ADDRESS": "localhost:0",
    }
    return load_settings({name: value for name, value in (local | environ).items() if value})


def test_a_development_machine_on_loopback_needs_no_identity() -> None:
    assert not callers_are_verified(settings())


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"MEMQL_ENVIRONMENT": ""}, "MEMQL_ENVIRONMENT=development is not set"),
        ({"MEMQL_ENVIRONMENT": "production"}, "MEMQL_ENVIRONMENT=development is not set"),
        ({"MEMQL_GRPC_ADDRESS": ":50051"}, ":50051 is not on loopback"),
        ({"SERVER_ADDRESS": "0.0.0.0:8085"}, "0.0.0.0:8085 is not on loopback"),
        ({"MEMQL_METRICS_ADDRESS": "10.0.0.1:9090"}, "10.0.0.1:9090 is not on loopback"),
        ({"MEMQL_ALLOW_NO_AUTH": "1", "MEMQL_GRPC_ADDRESS": ":50051"}, ":50051 is not on loopback"),
    ],
)
def test_anything_else_refuses_to_start_and_says_why(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(MemqlError) as error:
        callers_are_verified(settings(**environ))
    assert error.value.code is Code.CONFIG_INVALID
    assert reason in error.value.message


def test_callers_are_verified_where_identity_is_configured_and_where_tokens_are_issued() -> None:
    open_to_all = {"MEMQL_GRPC_ADDRESS": ":50051", "MEMQL_ENVIRONMENT": ""}
    assert callers_are_verified(settings(IDENTITY_VERIFIER_BASE_URL="https://identity:8085", **open_to_all))
    assert callers_are_verified(settings(**open_to_all), issuing=True)
