"""The matrix as data: every cell has its status, and what is shown is told apart before anything is looked up."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memql.auth.refusals import Cause, RefusedError
from memql.auth.schemes import hash_of, read_authorization
from memql.auth.surfaces import (
    AFTER_EXPIRY,
    FRAMES,
    MATRIX,
    CredentialKind,
    Surface,
    Verdict,
    admit,
    allowed_frames,
)
from memql.errors import Code, MemqlError
from memql.wire.payloads import CLIENT

SECRET = "A" * 43


def outcome(surface: Surface, kind: CredentialKind, role: str = "") -> str:
    try:
        admit(surface, kind, role)
    except MemqlError as error:
        return error.code.value
    return "ok"


def test_every_credential_has_a_cell_on_every_surface() -> None:
    assert set(MATRIX) == {(kind, surface) for kind in CredentialKind for surface in Surface}


@pytest.mark.parametrize("kind", CredentialKind)
@pytest.mark.parametrize("surface", Surface)
def test_each_cell_is_what_admission_does(surface: Surface, kind: CredentialKind) -> None:
    verdict = MATRIX[kind, surface]
    expected = {
        Verdict.OK: ("ok", "ok"),
        Verdict.UNAUTHENTICATED: ("UNAUTHENTICATED", "UNAUTHENTICATED"),
        Verdict.FORBIDDEN: ("FORBIDDEN", "FORBIDDEN"),
        Verdict.ADMINISTRATORS: ("FORBIDDEN", "ok"),
    }[verdict]
    assert (outcome(surface, kind, "writer"), outcome(surface, kind, "admin")) == expected


def test_the_corners_that_matter_most() -> None:
    """Written out by hand, so that a slip in the table is seen."""
    assert outcome(Surface.MEMQL_SERVICE, CredentialKind.NODE) == "FORBIDDEN"
    assert outcome(Surface.NODE_SERVICE, CredentialKind.NODE) == "ok"
    assert outcome(Surface.NODE_SERVICE, CredentialKind.USER) == "FORBIDDEN"
    assert outcome(Surface.NODE_SERVICE, CredentialKind.PAT) == "FORBIDDEN"
    assert outcome(Surface.NODE_SERVICE, CredentialKind.OPERATOR) == "UNAUTHENTICATED"
    assert outcome(Surface.MEMQL_SERVICE, CredentialKind.PAT) == "ok"
    assert outcome(Surface.WEB, CredentialKind.PAT) == "ok"
    assert outcome(Surface.MEDIA, CredentialKind.PAT) == "UNAUTHENTICATED"
    assert outcome(Surface.ISSUER_MEMQL_SERVICE, CredentialKind.VOICE_AGENT) == "FORBIDDEN"
    assert outcome(Surface.ISSUER_MEMQL_SERVICE, CredentialKind.SERVICE_ACCOUNT) == "ok"
    assert outcome(Surface.DEPLOY_CONTROL, CredentialKind.OPERATOR, "owner") == "FORBIDDEN"
    assert outcome(Surface.DEPLOY_CONTROL, CredentialKind.USER, "owner") == "ok"
    assert outcome(Surface.ADMIN, CredentialKind.USER, "writer") == "FORBIDDEN"
    assert outcome(Surface.ADMIN, CredentialKind.PAT, "owner") == "FORBIDDEN"
    assert outcome(Surface.WORKER_SERVICE, CredentialKind.LOCAL_DEV) == "UNAUTHENTICATED"


def test_nothing_shown_is_admitted_nowhere() -> None:
    for kind in (CredentialKind.NONE, CredentialKind.PAIRING, CredentialKind.BOOTSTRAP):
        assert {outcome(surface, kind, "owner") for surface in Surface} == {"UNAUTHENTICATED"}


def test_pinned_credentials_have_their_frames_and_the_control_frames() -> None:
    assert set(FRAMES) == {CredentialKind.VOICE_AGENT, CredentialKind.SERVICE_ACCOUNT, CredentialKind.GUEST}
    for frames in FRAMES.values():
        assert frames >= AFTER_EXPIRY
        assert not frames & {"run_automation", "node_maintenance"}
    assert "execute_query" not in FRAMES[CredentialKind.VOICE_AGENT]
    assert "call_tool" not in FRAMES[CredentialKind.SERVICE_ACCOUNT]
    assert allowed_frames(CredentialKind.USER) is None


def test_the_names_of_frames_are_names_of_payloads() -> None:
    served = {name for frames in FRAMES.values() for name in frames} & set(CLIENT.by_name)
    assert {"client_hello", "execute_query", "subscribe", "list_tools", "call_tool", "rotate_auth"} <= served
    assert all(re.fullmatch(r"[a-z_]+", name) for frames in FRAMES.values() for name in frames)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("Bearer ey.ey.sig", None),
        ("bearer ey.ey.sig", None),
        (f"Bearer mql_pat_{SECRET}", CredentialKind.PAT),
        (f"Bearer mql_wkr_{SECRET}", CredentialKind.WORKER),
        (f"Worker mql_wkr_{SECRET}", CredentialKind.WORKER),
        (f"Guest {SECRET}", CredentialKind.GUEST),
        ("Operator secret", CredentialKind.OPERATOR),
        ("Bootstrap secret", CredentialKind.BOOTSTRAP),
        ("Pair ABCD-EFGH", CredentialKind.PAIRING),
    ],
)
def test_what_is_shown_is_told_by_scheme_and_prefix(value: str, kind: CredentialKind | None) -> None:
    assert read_authorization(value).kind is kind


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("", Cause.MISSING),
        ("   ", Cause.MISSING),
        ("Bearer", Cause.MALFORMED),
        ("Bearer a b", Cause.MALFORMED),
        ("Basic dTpw", Cause.SCHEME),
        ("Bearer mql_pat_short", Cause.MALFORMED),
        (f"Bearer mql_pat_{SECRET}x", Cause.MALFORMED),
        (f"Bearer mql_xyz_{SECRET}", Cause.MALFORMED),
        (f"Worker mql_pat_{SECRET}", Cause.MALFORMED),
        ("Worker ey.ey.sig", Cause.MALFORMED),
        ("Guest short", Cause.MALFORMED),
    ],
)
def test_what_has_no_known_form_is_refused(value: str, cause: Cause) -> None:
    with pytest.raises(RefusedError) as refused:
        read_authorization(value)
    assert refused.value.cause is cause


@settings(deadline=None)
@given(st.text())
def test_any_text_is_either_told_apart_or_refused(value: str) -> None:
    try:
        shown = read_authorization(value)
    except RefusedError:
        return
    assert shown.secret
    assert repr(shown.secret) not in repr(shown)


@settings(deadline=None)
@given(st.text(min_size=1))
def test_a_hash_is_of_the_trimmed_secret(secret: str) -> None:
    assert hash_of(f" {secret.strip()}\n") == hash_of(secret)
    assert re.fullmatch(r"[0-9a-f]{64}", hash_of(secret))


def test_refusals_say_nothing_but_the_fixed_text() -> None:
    with pytest.raises(RefusedError) as refused:
        admit(Surface.WEB, CredentialKind.OPERATOR)
    assert refused.value.code is Code.UNAUTHENTICATED
    assert "operator" not in refused.value.message
