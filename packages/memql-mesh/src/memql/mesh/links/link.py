"""One stream to a peer, whichever side began it: a reader, one writer, and what is known of the other end."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import anyio
import betterproto2

from memql.errors import Code, MemqlError, first_of
from memql.mesh.links.gate import Renew
from memql.mesh.links.outbox import Batch, Outbox
from memql.mesh.links.streams import MAX_MESSAGE_BYTES, Stream, StreamLostError
from memql.mesh.options import Options
from memql.mesh.peers import Card
from memql.mesh.wire.envelopes import FROM_ACCEPTOR, FROM_DIALER, decode, encode, encode_body
from memql.mesh.wire.records import encode_batch, to_forward
from memql.server.replies import coded
from memql.wire.frames import Frame
from memql.wire.protobuf import MalformedMessageError, bool_field, bytes_head, varint_field

__all__ = ["BATCHES", "Link", "Receive"]

log = logging.getLogger(__name__)

BATCHES: Final = "event-batch/1"
"""The capability of peers that take events in batches."""

_EVENT_BATCH: Final = FROM_DIALER.by_name["event_batch"].number
_HEADROOM: Final = 4096


Receive: TypeAlias = "Callable[[Link, Frame], Awaitable[None] | None]"
"""Takes an envelope; what it returns, if anything, is awaited before the next one is read."""


class Link:
    """See the module. ``dialed`` tells which side began; only that one sends requests of the protocol."""

    def __init__(self, stream: Stream, peer: Card, *, dialed: bool, options: Options) -> None:
        self.peer = peer
        self.dialed = dialed
        self.outbox = Outbox(peer.id, options.outbox_capacity)
        self.opened_at = time.monotonic()
        self.heard_at = time.monotonic()
        self.ended = anyio.Event()
        """Set when it carries nothing any more."""
        self.end_reason: MemqlError | None = None
        """Why it ended; None while it lives and when the other side ended it in good order."""
        self.offer = self.outbox.offer
        """Queues an event."""
        self.renew: Renew | None = None
        """Takes a fresh credential of the peer; None where none is expected."""
        self._stream = stream
        self._options = options
        self._outgoing = FROM_DIALER if dialed else FROM_ACCEPTOR
        self._incoming = FROM_ACCEPTOR if dialed else FROM_DIALER
        self._batches = BATCHES in peer.capabilities
        self._ids = itertools.count(1)
        self._taking = False
        self._scope = anyio.CancelScope()

    def __repr__(self) -> str:
        return f"<Link {'to' if self.dialed else 'from'} {self.peer.type}/{self.peer.id}>"

    @property
    def alive(self) -> bool:
        """Whether it still carries."""
        return not self.ended.is_set()

    async def run(self, receive: Receive) -> None:
        """Carry until either side is done or :meth:`close` is called; then :attr:`ended` is set.

        :param receive: gets every envelope, in order; the next one is read when it returns.
        """
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write, name=f"mesh: writer of {self!r}")
                    tasks.start_soon(self._watch_silence, name=f"mesh: silence of {self!r}")
                    await self._read(receive)
                    tasks.cancel_scope.cancel()
        except* StreamLostError as lost:
            self._ended_by(first_of(lost).error)
        except* MalformedMessageError as malformed:
            self._ended_by(
                MemqlError(Code.INVALID_ARGUMENT, f"{self!r} brought a malformed frame: {first_of(malformed)}")
            )
        except* Exception as unexpected:
            # Of all that the node does, it ends this stream only.
            self._ended_by(coded(first_of(unexpected)))
        finally:
            self.ended.set()
            self.outbox.close()

    def close(self, reason: MemqlError | None = None) -> None:
        """End it from this side."""
        self._ended_by(reason)
        self._scope.cancel()

    def post(
        self,
        message: betterproto2.Message,
        *,
        correlate_to: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Queue a message in the control lane.

        :raises MemqlError: ``UNAVAILABLE`` when the stream has ended, ``RESOURCE_EXHAUSTED`` when the lane is full,
            ``INVALID_ARGUMENT`` when the message is larger than a stream carries.
        """
        self.outbox.post(self._checked(self._envelope(message, correlate_to, metadata)))

    def post_body(self, name: str, body: bytes) -> None:
        """As :meth:`post`, for a payload that is bytes already."""
        number = self._outgoing.by_name[name].number
        self.outbox.post(self._checked(encode_body(self._next_id(), number, body)))

    async def put(self, message: betterproto2.Message) -> None:
        """Queue an answer, at the peer's pace; one for a stream that has ended is dropped."""
        if self.alive:
            await self.outbox.put(self._checked(self._envelope(message, "", None)))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _ended_by(self, reason: MemqlError | None) -> None:
        if self.end_reason is None and self.alive:
            self.end_reason = reason

    def _envelope(self, message: betterproto2.Message, correlate_to: str, metadata: Mapping[str, str] | None) -> bytes:
        return encode(self._outgoing, self._next_id(), message, correlate_to=correlate_to, metadata=metadata)

    def _next_id(self) -> str:
        return format(next(self._ids), "x")

    def _checked(self, envelope: bytes) -> bytes:
        if not self.alive:
            raise MemqlError(Code.UNAVAILABLE, f"the stream to {self.peer.id} has ended")
        if len(envelope) > MAX_MESSAGE_BYTES - _HEADROOM:
            raise MemqlError(
                Code.INVALID_ARGUMENT,
                f"a message of {len(envelope)} bytes is too large for {self.peer.id}: at most {MAX_MESSAGE_BYTES}",
            )
        return envelope

    async def _read(self, receive: Receive) -> None:
        while True:
            data = await self._stream.read()
            self.heard_at = time.monotonic()
            try:
                pending = receive(self, decode(data, self._incoming))
                if pending is not None:
                    await self._wait_for(pending)
            except MemqlError as error:
                # What cannot be taken, or not be answered now, ends nothing else that the stream carries.
                log.warning("%r: %s", self, error.message)

    async def _wait_for(self, taken: Awaitable[None]) -> None:
        """Let an envelope be taken. Meanwhile nothing is read, so the peer is not the one that is silent."""
        self._taking = True
        try:
            await taken
        finally:
            self._taking = False
            self.heard_at = time.monotonic()

    async def _write(self) -> None:
        outbox, write = self.outbox, self._stream.write
        most_events, most_bytes = self._options.batch_events, self._options.batch_bytes
        while True:
            await outbox.wait()
            while (envelope := outbox.next_control()) is not None:
                await write(envelope)
            batch = outbox.next_batch(most_events, most_bytes)
            if batch is None:
                continue
            if self._batches:
                await write(_batch_envelope(batch))
                continue
            # Such a peer knows no gaps; what it misses stays in the log.
            for record in batch.records:
                await write(self._envelope(to_forward(record), "", None))

    async def _watch_silence(self) -> None:
        """End a stream that brings nothing: the peer sends heartbeats, so it is gone or cut off."""
        limit = self._options.silence if self.dialed else self._options.offline
        while (quiet := self._quiet()) < limit:  # noqa: ASYNC110  nothing tells that nothing came
            await anyio.sleep(limit - quiet)
        raise StreamLostError(MemqlError(Code.UNAVAILABLE, f"nothing came from {self.peer.id} for {limit:g} s"))

    def _quiet(self) -> float:
        return 0.0 if self._taking else time.monotonic() - self.heard_at


def _batch_envelope(batch: Batch) -> bytes:
    events = encode_batch(batch.records)
    before, after = bytes_head(1, len(events)), bool_field(2, batch.gap) + varint_field(3, len(batch.records))
    # The events are copied once.
    return b"".join((bytes_head(_EVENT_BATCH, len(before) + len(events) + len(after)), before, events, after))
