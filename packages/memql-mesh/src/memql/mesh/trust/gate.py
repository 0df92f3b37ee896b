"""The gate of a cluster with an identity service: node tokens (spec "Handshake and authentication")."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from memql.auth.credentials import CredentialStore
from memql.auth.nodes import verify_node
from memql.auth.refusals import REFUSED_TEXT, Cause, RefusedError
from memql.auth.revocation import RevocationWatch
from memql.auth.standing import Credential
from memql.auth.surfaces import CredentialKind
from memql.auth.verifier import TokenVerifier
from memql.errors import Code, MemqlError
from memql.mesh.links.gate import Admission, End, Renew
from memql.mesh.trust.trail import Refusal, Trail

__all__ = ["TokenGate"]

_MISMATCH: Final = "the hello names another node than the credential"


class TokenGate:
    """Lets in who shows a node token of the cluster that counts, for as long as it does."""

    def __init__(
        self, verifier: TokenVerifier, credentials: CredentialStore, revocations: RevocationWatch, trail: Trail
    ) -> None:
        self._verifier = verifier
        self._credentials = credentials
        self._revocations = revocations
        self._trail = trail

    async def admit(self, authorization: str, caller: str) -> Admission:
        """See :class:`~memql.mesh.links.gate.Gate`."""
        try:
            claims = await verify_node(authorization, verifier=self._verifier, credentials=self._credentials)
        except MemqlError as error:
            if error.code is not Code.UNAVAILABLE:
                self._trail.note(Refusal(error.code, _reason(error), _host(caller)))
            raise
        return Admission(
            node_id=claims.node_id,
            node_type=claims.node_type,
            credential_id=Credential.of(claims).credential_id,
            expires_at=claims.expires_at.timestamp(),
            caller=caller,
        )

    @contextmanager
    def watch(self, admission: Admission, end: End) -> Iterator[Renew]:
        """See :class:`~memql.mesh.links.gate.Gate`."""
        with _Stay(self, admission, end) as stay:
            yield stay.renew

    def mismatched(self, admission: Admission, node_id: str, node_type: str) -> None:
        """See :class:`~memql.mesh.links.gate.Gate`."""
        self._trail.note(Refusal(Code.FORBIDDEN, _MISMATCH, _host(admission.caller), node_id, node_type))

    @contextmanager
    def _watched(self, admission: Admission, end: End) -> Iterator[None]:
        """Until the block ends: tell when the credential is revoked or expires."""
        credential = Credential(kind=CredentialKind.NODE, credential_id=admission.credential_id)
        left = (admission.expires_at or 0) - time.time()
        timer = asyncio.get_running_loop().call_later(left, end, MemqlError(Code.UNAUTHENTICATED, REFUSED_TEXT))
        try:
            with self._revocations.watching(credential, lambda cause: end(self._revoked(admission, cause))):
                yield
        finally:
            timer.cancel()

    def _revoked(self, admission: Admission, cause: Cause) -> MemqlError:
        if cause is Cause.UNCHECKED:
            return MemqlError(Code.UNAUTHENTICATED, REFUSED_TEXT)
        node = (admission.node_id, admission.node_type)
        self._trail.note(Refusal(Code.FORBIDDEN, cause.value, _host(admission.caller), *node))
        return MemqlError(Code.FORBIDDEN, "the credential of this node is revoked")


class _Stay:
    """One admitted stream, and the credential that it stays by."""

    def __init__(self, gate: TokenGate, admission: Admission, end: End) -> None:
        self._gate = gate
        self._admission = admission
        self._end = end
        self._watching = ExitStack()

    def __enter__(self) -> _Stay:
        self._watch()
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.close()

    async def renew(self, authorization: str) -> None:
        """Stay by a fresh credential from now on; one that does not count ends the stream."""
        try:
            fresh = await self._gate.admit(authorization, self._admission.caller)
            if not self._admission.fits(fresh.node_id, fresh.node_type):
                self._gate.mismatched(fresh, self._admission.node_id, self._admission.node_type)
                raise MemqlError(Code.FORBIDDEN, "the renewed credential is for another node")
        except MemqlError as error:
            # What could not be verified now changes nothing: the stream has until the old one expires.
            if error.code is not Code.UNAVAILABLE:
                self._end(error)
            return
        self._admission = fresh
        self._watch()

    def _watch(self) -> None:
        self._watching.close()
        self._watching.enter_context(self._gate._watched(self._admission, self._end))


def _reason(error: MemqlError) -> str:
    return error.cause.value if isinstance(error, RefusedError) else error.message


def _host(caller: str) -> str:
    """The host of a peer as gRPC names it: ``ipv4:127.0.0.1:1234``."""
    return caller.partition(":")[2].rpartition(":")[0].strip("[]") or caller
