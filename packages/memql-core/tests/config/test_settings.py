from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from memql.config import (
    Address,
    Layer,
    Settings,
    declarations,
    describe,
    load_settings,
    mask,
    parse_address,
    parse_duration,
    unknown_variables,
)
from memql.errors import Code, MemqlError


def refusal(environ: dict[str, str]) -> MemqlError:
    with pytest.raises(MemqlError) as raised:
        load_settings(environ)
    assert raised.value.code is Code.CONFIG_INVALID
    return raised.value


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load_settings({})
    assert settings.grpc_address == Address("", 50051)
    assert settings.http_address == Address("", 8085)
    assert settings.shutdown_drain_delay == 5.0
    assert settings.query_max_results == 10_000
    assert settings.identity_enabled
    assert settings.source_of("grpc_address") == "default"


def test_every_name_of_a_setting_is_read_and_the_preferred_wins() -> None:
    assert load_settings({"MEMORY_NODES_DATABASE_DSN": "a"}).database_dsn == "a"
    both = {"MEMORY_NODES_DATABASE_DSN": "a", "MEMQL_DATABASE_DSN": "b"}
    assert load_settings(both).database_dsn == "b"


def test_names_without_the_prefix_are_also_read_with_it() -> None:
    assert load_settings({"MEMQL_IDENTITY_ENABLED": "no"}).identity_enabled is False
    assert load_settings({"MEMQL_SERVER_ADDRESS": ":1"}).http_address.port == 1


def test_a_stronger_layer_wins_and_provenance_tells() -> None:
    layers = [
        Layer("process", {"MEMQL_REGION": "eu", "MEMQL_NODE_FLAVOR": ""}),
        Layer("genesis:b64", {"MEMQL_REGION": "us", "MEMQL_NODE_FLAVOR": "x", "MEMQL_ENVIRONMENT": "staging"}),
    ]
    settings = load_settings(layers=layers)
    assert (settings.region, settings.source_of("region")) == ("eu", "process")
    assert (settings.environment, settings.source_of("environment")) == ("staging", "genesis:b64")
    assert (settings.node_flavor, settings.source_of("node_flavor")) == ("", "process")


@pytest.mark.parametrize(
    ("seconds", "shown"), [("24h", "24h"), ("90", "90s"), ("120", "2m"), ("500ms", "0.5s"), ("0", "0s")]
)
def test_a_duration_is_shown_as_it_can_be_set(seconds: str, shown: str) -> None:
    rows = {row.name: row for row in describe(load_settings({"MEMQL_MESH_OUTBOX_RETENTION": seconds}))}
    assert rows["MEMQL_MESH_OUTBOX_RETENTION"].value == shown
    assert parse_duration(shown) == parse_duration(seconds)
    # Of a plain number the name has the unit.
    assert rows["MEMQL_NODE_STALE_PRUNE_MINUTES"].value == "30"


def test_an_empty_value_means_the_default_where_text_makes_no_sense() -> None:
    settings = load_settings({"MEMQL_GRPC_ADDRESS": "", "MEMQL_NODE_ID": "", "MEMQL_DSL_PATH": ""})
    assert settings.grpc_address.port == 50051
    assert settings.node_id is None
    assert settings.dsl_path == ()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("MEMQL_GRPC_ADDRESS", "nowhere", "host:port"),
        ("MEMQL_GRPC_ADDRESS", ":70000", "0 to 65535"),
        ("MEMQL_SHUTDOWN_BUDGET", "soon", "duration"),
        ("MEMQL_SHUTDOWN_BUDGET", "-4", "duration"),
        ("MEMQL_STREAM_MAX_INFLIGHT", "many", "integer"),
        ("MEMQL_STREAM_MAX_INFLIGHT", "0", "greater than or equal to 1"),
        ("IDENTITY_ENABLED", "maybe", "true or false"),
        ("MEMQL_LOG_LEVEL", "loud", "'debug'"),
        ("MEMQL_NODE_LABELS", "zone", "zone=a"),
    ],
)
def test_a_malformed_value_names_the_variable_the_value_and_what_is_allowed(
    name: str, value: str, allowed: str
) -> None:
    error = refusal({name: value})
    assert f"{name}={value!r}" in error.message
    assert allowed in error.message
    assert error.details["violations"][0]["variable"] == name


def test_every_malformed_value_is_told_at_once() -> None:
    error = refusal({"MEMQL_LOG_LEVEL": "loud", "SERVER_ADDRESS": "x"})
    assert {one["variable"] for one in error.details["violations"]} == {"MEMQL_LOG_LEVEL", "SERVER_ADDRESS"}


def test_a_malformed_secret_is_never_shown() -> None:
    error = refusal({"MEMQL_MASTER_KEY": "not-a-key-but-secret"})
    assert "not-a-key" not in str(error)
    assert "64 hex digits" in error.message


def test_secrets_are_neither_in_the_representation_nor_in_the_description() -> None:
    settings = load_settings(
        {"MEMQL_OPERATOR_TOKEN": "very-secret-" + 20 * "x" + "token", "MEMQL_DATABASE_DSN": "postgres://u:pw@h/memql"}
    )
    assert "very-secret" not in repr(settings)
    rows = {row.name: row for row in describe(settings)}
    assert rows["MEMQL_OPERATOR_TOKEN"].value == "...oken"
    assert "pw" not in rows["MEMQL_DATABASE_DSN"].value
    revealed = {row.name: row.value for row in describe(settings, reveal=True)}
    assert revealed["MEMQL_OPERATOR_TOKEN"].startswith("very-secret-")


def test_development_counts_only_when_it_was_asked_for() -> None:
    assert not load_settings({}).explicit_development
    assert load_settings({"MEMQL_ENVIRONMENT": "development"}).explicit_development
    assert not load_settings({"MEMQL_ENVIRONMENT": "production"}).explicit_development


def test_production_forbids_tokens_in_urls_unless_told() -> None:
    assert load_settings({}).query_token_allowed
    assert not load_settings({"MEMQL_ENVIRONMENT": "production"}).query_token_allowed
    told = {"MEMQL_ENVIRONMENT": "production", "MEMQL_WS_ALLOW_QUERY_TOKEN": "1"}
    assert load_settings(told).query_token_allowed


def test_both_migration_switches_must_be_on() -> None:
    assert load_settings({}).migrates_on_start
    assert not load_settings({"MEMORY_NODES_DATABASE_MIGRATE_ON_START": "false"}).migrates_on_start
    assert not load_settings({"MEMORY_NODES_DATABASE_AUTO_MIGRATE": "false"}).migrates_on_start


def test_lists_labels_and_paths_are_taken_apart() -> None:
    settings = load_settings(
        {"MEMQL_NODE_LABELS": "zone=a, disk=ssd", "MEMQL_DSL_PATH": "/a:/b", "SERVER_ALLOWED_ORIGINS": "https://x , y"}
    )
    assert settings.node_labels == {"zone": "a", "disk": "ssd"}
    assert settings.dsl_path == (Path("/a"), Path("/b"))
    assert settings.http_allowed_origins == ("https://x", "y")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).region = "eu"


def test_every_setting_has_a_document_and_no_two_share_a_variable() -> None:
    names = [name for declaration in declarations() for name in declaration.all_names]
    assert len(names) == len(set(names))
    assert all(declaration.doc for declaration in declarations())
    assert len(describe(load_settings({}))) == len(Settings.model_fields)


def test_a_misspelt_variable_gets_a_proposal() -> None:
    assert unknown_variables(["MEMQL_GRPC_ADRESS", "MEMQL_REGION", "HOME", "MEMQL_VOICE_EXECUTOR"]) == {
        "MEMQL_GRPC_ADRESS": "MEMQL_GRPC_ADDRESS",
        "MEMQL_VOICE_EXECUTOR": "",
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("500ms", 0.5), ("1m30s", 90), ("24h", 86400), ("7d", 604800), ("2", 2), ("0.5", 0.5)],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@hypothesis_settings(deadline=None)
@given(st.text())
def test_a_duration_is_a_number_or_refused(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except ValueError as error:
        assert "duration" in str(error)


@hypothesis_settings(deadline=None)
@given(st.one_of(st.just(""), st.just("localhost"), st.ip_addresses().map(str)), st.integers(0, 65535))
def test_addresses_survive_being_written_and_read(host: str, port: int) -> None:
    address = Address(host, port)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        (":1", False),
        ("10.0.0.1:1", False),
        ("host:1", False),
    ],
)
def test_only_this_machine_is_loopback(text: str, loopback: bool) -> None:
    assert parse_address(text).is_loopback is loopback


@pytest.mark.parametrize(("value", "shown"), [("", ""), ("12345678", "****"), ("123456789", "...6789")])
def test_a_secret_is_shown_by_its_end_when_it_is_long_enough(value: str, shown: str) -> None:
    assert mask(value) == shown


def test_an_identity_node_must_know_its_own_name_and_others_the_issuers() -> None:
    assert "identity_base_url" in load_settings({"MEMQL_NODE_TYPE": "identity"}).required_fields
    assert "identity_verifier_base_url" in load_settings({"MEMQL_NODE_TYPE": "bff"}).required_fields
    development = load_settings({"MEMQL_ENVIRONMENT": "development"})
    assert not {"identity_base_url", "identity_verifier_base_url"} & development.required_fields


def test_issuer_and_keys_follow_the_base_url_unless_they_are_given() -> None:
    settings = load_settings({"IDENTITY_VERIFIER_BASE_URL": "https://identity:8085/"})
    assert settings.expected_issuer == "https://identity:8085"
    assert settings.jwks_url == "https://identity:8085/.well-known/jwks.json"
    given = {
        "IDENTITY_VERIFIER_BASE_URL": "https://identity:8085",
        "IDENTITY_VERIFIER_EXPECTED_ISSUER": "https://id.example.com",
        "IDENTITY_VERIFIER_JWKS_URL": "https://keys.example.com/jwks",
    }
    settings = load_settings(given)
    assert (settings.expected_issuer, settings.jwks_url) == ("https://id.example.com", "https://keys.example.com/jwks")
    assert (load_settings({}).expected_issuer, load_settings({}).jwks_url) == ("", "")
