"""Which credential is admitted where: the surface matrix and the frame lists as data (spec "Surface matrix", "Frame
lists")."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from memql.auth.claims import TokenClass
from memql.auth.refusals import Cause, RefusedError
from memql.errors import Code, MemqlError

__all__ = [
    "CLASS_KINDS",
    "FRAMES",
    "MATRIX",
    "CredentialKind",
    "Surface",
    "Verdict",
    "admit",
    "allowed_frames",
]


class Surface(str, Enum):
    """Where a credential is shown."""

    MEMQL_SERVICE = "memql_service"
    """MemqlService of every node but the issuer's."""
    ISSUER_MEMQL_SERVICE = "issuer_memql_service"
    """MemqlService of an identity node."""
    NODE_SERVICE = "node_service"
    WORKER_SERVICE = "worker_service"
    DEPLOY_CONTROL = "deploy_control"
    WEB = "web"
    """MemqlService over HTTP: ``/memql/ws`` and ``POST /memql/query``."""
    MEDIA = "media"
    """Audio sockets and files."""
    ME = "me"
    ADMIN = "admin"


class CredentialKind(str, Enum):
    """What was shown. The values of those that can act are the credential classes of a forwarded authority."""

    NONE = "none"
    USER = "user"
    PAT = "pat"
    WORKER = "worker_token"
    GUEST = "guest"
    NODE = "node"
    VOICE_AGENT = "voice_agent"
    SERVICE_ACCOUNT = "service_account"
    OPERATOR = "operator"
    PAIRING = "pairing"
    BOOTSTRAP = "bootstrap"
    LOCAL_DEV = "local_dev"
    """Nobody showed anything and nobody had to: the owner of a development machine."""


CLASS_KINDS: Mapping[TokenClass, CredentialKind] = {
    TokenClass.USER: CredentialKind.USER,
    TokenClass.NODE: CredentialKind.NODE,
    TokenClass.VOICE_AGENT: CredentialKind.VOICE_AGENT,
    TokenClass.SERVICE_ACCOUNT: CredentialKind.SERVICE_ACCOUNT,
}
"""What a JWT is, by its class."""


class Verdict(str, Enum):
    """One cell of the matrix."""

    OK = "ok"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    ADMINISTRATORS = "administrators"
    """Admitted with role owner or admin, forbidden with any other."""


_MARKS = {
    "ok": Verdict.OK,
    "UA": Verdict.UNAUTHENTICATED,
    "PD": Verdict.FORBIDDEN,
    "adm": Verdict.ADMINISTRATORS,
}

# A personal access token IS its user wherever MemqlService is spoken, over gRPC and over HTTP. NodeService tells it
# apart from a bad token: FORBIDDEN keeps a node from asking for a fresh credential in vain. The operator cannot deploy:
# that needs a person. Without a verifier (local_dev) the mesh is open, but a worker still needs its token.
_TABLE = """
                MEMQL_SERVICE ISSUER_MEMQL_SERVICE NODE_SERVICE WORKER_SERVICE DEPLOY_CONTROL WEB MEDIA ME ADMIN
NONE            UA            UA                   UA           UA             UA             UA  UA    UA UA
USER            ok            ok                   PD           UA             adm            ok  ok    ok adm
PAT             ok            ok                   PD           UA             adm            ok  UA    ok PD
WORKER          PD            PD                   PD           ok             PD             PD  PD    PD PD
GUEST           ok            PD                   PD           UA             PD             ok  ok    PD PD
NODE            PD            PD                   ok           UA             PD             PD  PD    PD PD
VOICE_AGENT     ok            PD                   PD           UA             PD             PD  PD    PD PD
SERVICE_ACCOUNT ok            ok                   PD           UA             PD             ok  PD    PD PD
OPERATOR        ok            ok                   UA           UA             PD             UA  UA    UA UA
PAIRING         UA            UA                   UA           UA             UA             UA  UA    UA UA
BOOTSTRAP       UA            UA                   UA           UA             UA             UA  UA    UA UA
LOCAL_DEV       ok            ok                   ok           UA             ok             ok  ok    ok ok
"""


def _read_table() -> dict[tuple[CredentialKind, Surface], Verdict]:
    head, *rows = (line.split() for line in _TABLE.strip().splitlines())
    return {
        (CredentialKind[row[0]], Surface[column]): _MARKS[mark]
        for row in rows
        for column, mark in zip(head, row[1:], strict=True)
    }


MATRIX: Mapping[tuple[CredentialKind, Surface], Verdict] = _read_table()
"""Every credential on every surface. What is expired, revoked or badly signed is UNAUTHENTICATED everywhere."""

_CONTROL = frozenset({"client_hello", "ack", "cancel_request", "unsubscribe", "rotate_auth"})
"""What every stream may send."""

FRAMES: Mapping[CredentialKind, frozenset[str]] = {
    CredentialKind.VOICE_AGENT: _CONTROL
    | {
        "list_tools",
        "call_tool",
        "voice_agent_session_start",
        "voice_agent_session_end",
        "voice_agent_partial_transcript",
        "voice_agent_final_transcript",
        "voice_agent_turn_request",
        "voice_agent_realtime_output",
        "voice_agent_realtime_speaking",
    },
    CredentialKind.SERVICE_ACCOUNT: _CONTROL
    | {
        "execute_query",
        "subscribe",
        "concepts_list",
        "concepts_subscribe",
        "my_access",
        "evaluate_policy",
        "agent_generate_turn",
    },
    CredentialKind.GUEST: _CONTROL
    | {
        "execute_query",
        "subscribe",
        "resolve_guest_invite",
        "join_space_as_guest",
    },
}
"""The payloads that a pinned credential may send, by oneof name; any other is FORBIDDEN, for that frame only. A service
account's query must be a read."""

AFTER_EXPIRY = _CONTROL
"""All that a stream may send once its credential has expired."""


def allowed_frames(kind: CredentialKind) -> frozenset[str] | None:
    """The payloads a credential may send; None for all."""
    return FRAMES.get(kind)


def admit(surface: Surface, kind: CredentialKind, role: str = "") -> None:
    """Pass a credential that has been verified, or whose form alone is refused.

    :param role: the caller's role, for surfaces that are for administrators.
    :raises MemqlError: ``UNAUTHENTICATED`` (as :class:`RefusedError`) or ``FORBIDDEN``, as the matrix says.
    """
    verdict = MATRIX[kind, surface]
    if verdict is Verdict.OK or (verdict is Verdict.ADMINISTRATORS and role in {"owner", "admin"}):
        return
    if verdict is Verdict.UNAUTHENTICATED:
        raise RefusedError(Cause.SURFACE, f"{kind.value} on {surface.value}")
    if verdict is Verdict.ADMINISTRATORS:
        raise MemqlError(Code.FORBIDDEN, "this needs role owner or admin")
    raise MemqlError(Code.FORBIDDEN, f"a credential of class {kind.value} is not admitted here")
