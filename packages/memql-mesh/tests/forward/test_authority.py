"""On whose behalf a forwarded request runs: what fits together is taken as it was resolved, everything else refused."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.auth import Actor, local_owner, machine, operator, person, system
from memql.auth.surfaces import CredentialKind
from memql.errors import Code, MemqlError
from memql.mesh.forward.authority import Sayings, authority_of, claims_of, principal_of, principal_said
from memql.mesh.wire.forwards import ForwardFrame
from memql.mesh.wire.messages import ForwardedAuthority, PrincipalKind, SiForwardRequest
from memql.server.ports import NodeIdentity, Principal
from memql.wire.protobuf import MalformedMessageError, bytes_field

BFF = NodeIdentity(id="bff-1", type="bff")
ADA = Principal(
    actor=person("v1:identity:user:ada", role="writer", email="ada@example.com", identity_id="v1:identity:identity:k"),
    credential_class=CredentialKind.PAT,
    expires_at=datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1),
    given_name="Ada",
    family_name="Lovelace",
)


def sent(principal: Principal = ADA, **changes: Any) -> ForwardedAuthority:
    """An authority as it arrives, with some members changed on the way."""
    authority = ForwardedAuthority.parse(bytes(authority_of(principal, BFF)))
    for name, value in changes.items():
        setattr(authority, name, value)
    return authority


def taken(authority: ForwardedAuthority | None, claims: dict[str, str] | None = None) -> Principal:
    return principal_of(authority, claims_of(ADA) if claims is None else claims, "bff-1")


def refusal(authority: ForwardedAuthority | None, claims: dict[str, str] | None = None, peer: str = "bff-1") -> Code:
    with pytest.raises(MemqlError) as refused:
        principal_of(authority, claims_of(ADA) if claims is None else claims, peer)
    return refused.value.code


def test_a_user_acts_over_there_as_here() -> None:
    principal = taken(sent())
    assert principal.actor == ADA.actor
    assert principal.credential_class is CredentialKind.PAT
    assert (principal.expires_at, principal.given_name, principal.family_name) == (ADA.expires_at, "Ada", "Lovelace")


@pytest.mark.parametrize(
    "actor",
    [
        local_owner(),
        operator(),
        machine("service_account", "system:gate", "v1:identity:identity:g"),
        machine("voice_agent", "v1:identity:identity:v", "v1:identity:identity:v"),
        person("v1:identity:user:eve", role="owner", email="eve@example.com"),
    ],
)
def test_every_kind_of_caller_keeps_its_rights(actor: Actor) -> None:
    principal = Principal(actor=actor, credential_class=CredentialKind.USER)
    again = taken(sent(principal), claims_of(principal)).actor
    assert (again.created_by, again.role, again.is_cluster_owner) == (
        actor.created_by,
        actor.role,
        actor.is_cluster_owner,
    )
    assert again.has_role("admin") == actor.has_role("admin")


def test_the_work_of_a_node_itself_is_done_with_a_readers_rights() -> None:
    principal = Principal(actor=system("system:automation:sweep"))
    again = taken(sent(principal), claims_of(principal)).actor
    assert again.role == "reader"
    assert not again.bypasses_row_rules
    assert again.created_by == "system:automation:sweep"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"contract_version": ""}, Code.FORBIDDEN),
        ({"contract_version": "v2"}, Code.FORBIDDEN),
        ({"principal_kind": PrincipalKind.UNSPECIFIED}, Code.FORBIDDEN),
        ({"principal_kind": PrincipalKind.SYSTEM}, Code.FORBIDDEN),
        ({"subject": ""}, Code.FORBIDDEN),
        ({"credential_class": ""}, Code.FORBIDDEN),
        ({"credential_class": "root"}, Code.FORBIDDEN),
        ({"credential_class": "system"}, Code.FORBIDDEN),
        ({"role": ""}, Code.FORBIDDEN),
        ({"role": "system"}, Code.FORBIDDEN),
        ({"role": "emperor"}, Code.FORBIDDEN),
        ({"origin_node_id": "bff-2"}, Code.FORBIDDEN),
        ({"origin_node_id": ""}, Code.FORBIDDEN),
        ({"credential_class": "badge"}, Code.FORBIDDEN),
        ({"credential_class": "badge", "role_ceiling": "reader"}, Code.FORBIDDEN),
        ({"role_ceiling": "reader"}, Code.FORBIDDEN),
        ({"expires_at_unix": int(time.time()) - 60}, Code.UNAUTHENTICATED),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], code: Code) -> None:
    assert refusal(sent(**changes)) is code


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "owner"},
        {"role": "admin"},
        {"subject": "v1:identity:user:ada"},
        {"principal_kind": PrincipalKind.USER},
        {"credential_class": "user"},
    ],
)
def test_nobody_becomes_the_system_or_stops_being_it(changes: dict[str, Any]) -> None:
    principal = Principal(actor=system("system:sweep"))
    assert refusal(sent(principal, **changes), {}) is Code.FORBIDDEN


def test_a_badge_within_its_ceiling_is_taken() -> None:
    badge = sent(credential_class="badge", role_ceiling="writer", expires_at_unix=int(time.time()) + 60)
    assert taken(badge).actor.role == "writer"


def test_attribution_about_somebody_else_is_refused_and_none_is_taken() -> None:
    assert refusal(sent(), {"sub": "v1:identity:user:eve"}) is Code.FORBIDDEN
    assert taken(sent(), {}).actor == ADA.actor


def test_claims_without_an_authority_are_nothing() -> None:
    assert refusal(None) is Code.FORBIDDEN


def test_another_peer_cannot_use_what_was_said_to_one() -> None:
    assert refusal(sent(), peer="bff-2") is Code.FORBIDDEN


RANKED = ["guest", "reader", "writer", "admin", "owner"]


@given(st.sampled_from(RANKED), st.sampled_from(["", *RANKED]))
def test_a_role_never_rises_above_its_ceiling(role: str, ceiling: str) -> None:
    principal = replace(ADA, actor=person("v1:identity:user:ada", role=role), role_ceiling=ceiling)
    try:
        again = taken(sent(principal), {})
    except MemqlError as error:
        assert error.code is Code.FORBIDDEN
        assert ceiling
        assert RANKED.index(role) > RANKED.index(ceiling)
    else:
        assert again.actor.role == role
        assert not ceiling or RANKED.index(role) <= RANKED.index(ceiling)


# --- as bytes --------------------------------------------------------------------------------------------------------


def test_what_is_said_of_a_caller_is_who_acts_over_there() -> None:
    said = Sayings(BFF).of(ADA)
    assert principal_said(said, "bff-1") == taken(sent())
    with pytest.raises(MemqlError) as refused:
        principal_said(said, "bff-2")
    assert refused.value.code is Code.FORBIDDEN


def test_a_caller_is_described_once_a_second() -> None:
    now = [1000.2]
    sayings = Sayings(BFF, clock=lambda: now[0])
    first = sayings.of(ADA)
    assert sayings.of(ADA) is first
    assert sayings.of(replace(ADA, given_name="Augusta")) != first
    now[0] = 1001.0
    assert sayings.of(ADA) is not first


def test_a_credential_that_expires_after_it_was_remembered_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    said = Sayings(BFF).of(ADA)
    principal_said(said, "bff-1")
    later = time.time() + 3700
    monkeypatch.setattr("memql.mesh.forward.authority.time.time", lambda: later)
    with pytest.raises(MemqlError) as refused:
        principal_said(said, "bff-1")
    assert refused.value.code is Code.UNAUTHENTICATED


@pytest.mark.parametrize("said", [b"", b"\x2a\xff", bytes_field(5, b"\xff" * 9000)])
def test_what_says_nothing_or_cannot_be_read_is_refused(said: bytes) -> None:
    with pytest.raises(MemqlError) as refused:
        principal_said(said, "bff-1")
    assert refused.value.code in {Code.FORBIDDEN, Code.INVALID_ARGUMENT}


@given(
    st.builds(
        SiForwardRequest,
        request_id=st.text(max_size=8),
        auth=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3),
        memql_envelope=st.binary(max_size=16),
        authority=st.none() | st.just(sent()),
        continuation=st.booleans(),
        deadline_ms=st.integers(0, 2**40),
    )
)
def test_a_forwarded_request_is_the_same_message_whoever_reads_and_writes_it(message: SiForwardRequest) -> None:
    frame = ForwardFrame.decode(bytes(message))
    assert SiForwardRequest.parse(frame.encode()) == message
    assert (frame.request_id, frame.envelope) == (message.request_id, message.memql_envelope)
    assert (frame.continuation, frame.deadline_ms) == (message.continuation, message.deadline_ms)


@given(st.binary(max_size=64))
def test_bytes_that_are_no_forwarded_request_are_malformed_and_nothing_else(data: bytes) -> None:
    try:
        ForwardFrame.decode(data)
    except MalformedMessageError:
        return
