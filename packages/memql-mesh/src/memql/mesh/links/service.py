"""``NodeService``: the streams that other nodes open to this one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import grpc
import grpc.aio

from memql.config.value_types import Address
from memql.errors import Code, MemqlError
from memql.mesh.links.gate import AUTHORIZATION, Admission, Gate
from memql.mesh.links.handshake import await_hello, refuse, welcome
from memql.mesh.links.link import Link
from memql.mesh.links.streams import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, AcceptedStream, StreamLostError
from memql.mesh.links.switchboard import Switchboard
from memql.mesh.options import Options
from memql.mesh.peers import Card, Peers
from memql.mesh.wire.envelopes import SERVICE
from memql.server.replies import coded

__all__ = ["Listener", "NodeService", "bind"]

log = logging.getLogger(__name__)

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.max_frame_size", MAX_FRAME_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Who connects and says nothing is let go.
    ("grpc.server_handshake_timeout_ms", 10_000),
    # Two nodes must not share a port by accident.
    ("grpc.so_reuseport", 0),
)
_STATUS: Final = {status.value[0]: status for status in grpc.StatusCode}


class NodeService:
    """The handler of the stream; one per node.

    :param own: what this node says of itself now.
    """

    def __init__(
        self,
        own: Callable[[], Card],
        gate: Gate,
        peers: Peers,
        switchboard: Switchboard,
        options: Options,
    ) -> None:
        self._own = own
        self._gate = gate
        self._peers = peers
        self._switchboard = switchboard
        self._options = options
        self.refusal: MemqlError | None = None
        """When set, new streams are refused with it; stopping sets it."""

    def handlers(self) -> grpc.GenericRpcHandler:
        """What ``grpc.aio.Server.add_generic_rpc_handlers`` takes; messages stay bytes."""
        stream = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, {"Stream": stream})

    async def _stream(self, _requests: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        try:
            if self.refusal is not None:
                raise self.refusal
            admission = await self._gate.admit(_authorization(context), context.peer())
            await context.send_initial_metadata(())
            ending = await self._serve(AcceptedStream(context), admission)
        except StreamLostError as lost:
            ending = lost.error
        except Exception as error:
            ending = coded(error)
        if ending is not None:
            await context.abort(_STATUS[int(ending.status)], ending.message)

    async def _serve(self, stream: AcceptedStream, admission: Admission) -> MemqlError | None:
        """Shake hands and carry; gives why the stream is ended from here, if it is."""
        card = await await_hello(stream, self._options.handshake)
        if (reason := self._objection(card, admission)) is not None:
            log.warning("a stream from %s/%s is refused: %s", card.type, card.id, reason)
            await refuse(stream, reason)
            return None
        link = Link(stream, card, dialed=False, options=self._options)
        message, metadata = welcome(self._own(), self._peers)
        link.post(message, metadata=metadata)
        with self._gate.watch(admission, link.close) as link.renew:
            await self._switchboard.serve(link)
        return link.end_reason

    def _objection(self, card: Card, admission: Admission) -> str | None:
        if not admission.fits(card.id, card.type):
            self._gate.mismatched(admission, card.id, card.type)
            return "the hello names another node than the credential"
        return "this is the same node" if card.id == self._own().id else None


@asynccontextmanager
async def bind(
    address: Address, credentials: grpc.ServerCredentials | None, stop_seconds: float
) -> AsyncIterator[Listener]:
    """Take an address, which is listened on from :meth:`Listener.serve` to the end of the block.

    :raises MemqlError: ``CONFIG_INVALID`` when it cannot be bound.
    """
    server = grpc.aio.server(options=list(_OPTIONS))
    target = str(Address(address.bind_host, address.port))
    try:
        port = server.add_secure_port(target, credentials) if credentials else server.add_insecure_port(target)
    except (RuntimeError, OSError) as error:
        raise MemqlError(
            Code.CONFIG_INVALID, f"cannot listen on {target} (MEMQL_NODE_SERVICE_ADDRESS): {error}"
        ) from error
    try:
        yield Listener(server, Address(address.host, port))
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop(stop_seconds)


class Listener:
    """A bound address; ``address`` has its real port."""

    def __init__(self, server: grpc.aio.Server, address: Address) -> None:
        self.address = address
        self._server = server

    async def serve(self, service: NodeService) -> None:
        """Take streams from now on."""
        self._server.add_generic_rpc_handlers((service.handlers(),))
        await self._server.start()


def _authorization(context: grpc.aio.ServicerContext[bytes, bytes]) -> str:
    found = [value for key, value in context.invocation_metadata() or () if key == AUTHORIZATION]
    return found[-1] if found and isinstance(found[-1], str) else ""
