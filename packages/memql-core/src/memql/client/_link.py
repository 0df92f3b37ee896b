"""One open stream: its writer, its reader, and the requests that wait for answers on it.

A link never reconnects. When its stream ends, every request on it fails and the session dials another.
"""

from __future__ import annotations

import abc
import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import anyio
import betterproto2
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from memql.client._codec import decode_error, encode_message, encode_payload, rows_of_chunk
from memql.client._transport import StreamLostError, Transport
from memql.client.model import ServerInfo
from memql.errors import Code, MemqlError, first_of
from memql.wire import messages
from memql.wire.frames import Frame, decode_server
from memql.wire.generated import message_bytes
from memql.wire.protobuf import MalformedMessageError

__all__ = ["Flow", "Link", "LinkLostError", "MessageReply", "RowsReply"]

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Exception)
_MAX_INFLIGHT = 32
"""Half of what a server allows: it counts a request a little longer than we do."""
_OUTBOX = 1024
_FLOW_BUFFER = 1024
_SILENT_HEARTBEATS = 3


class LinkLostError(Exception):
    """The stream ended before the answer; ``sent`` tells whether the request may have reached the server."""

    def __init__(self, error: MemqlError, sent: bool) -> None:
        super().__init__(error)
        self.error = error
        self.sent = sent


class _Pending(Protocol):
    sent: bool

    def accept(self, frame: Frame) -> bool:
        """Take one frame; True when the request is finished."""
        ...

    def fail(self, error: Exception) -> None:
        """Finish with an error."""
        ...


class _Reply(abc.ABC, Generic[_T]):
    """A request whose answer is one value."""

    def __init__(self) -> None:
        self.sent = False
        self.future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

    @abc.abstractmethod
    def accept(self, frame: Frame) -> bool:
        """Take one frame; True when the request is finished."""

    def fail(self, error: Exception) -> None:
        """Finish with an error."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # the waiter may be gone already; then nobody else looks at it

    def resolve(self, value: _T) -> None:
        """Finish with the answer."""
        if not self.future.done():
            self.future.set_result(value)


class MessageReply(_Reply[Frame]):
    """One frame answers."""

    def accept(self, frame: Frame) -> bool:
        """Any frame but an error is the answer."""
        if frame.name == "query_error":
            self.fail(decode_error(frame))
        else:
            self.resolve(frame)
        return True


class RowsReply(_Reply[list[bytes]]):
    """Chunks of rows answer, the last one marked."""

    def __init__(self) -> None:
        super().__init__()
        self._chunks: list[bytes] = []

    def accept(self, frame: Frame) -> bool:
        """Collect a chunk."""
        if frame.name == "query_error":
            self.fail(decode_error(frame))
            return True
        if frame.name != "query_result":
            self.fail(MemqlError(Code.INTERNAL, f"the server answered a query with {frame.name!r}"))
            return True
        chunk, done = rows_of_chunk(frame.body)
        self._chunks.append(chunk)
        if done:
            self.resolve(self._chunks)
        return done


class Flow:
    """A request that is answered by frames until ``is_last`` says so; read them from ``frames``."""

    def __init__(self, is_last: Callable[[Frame], bool]) -> None:
        self.sent = False
        self._is_last = is_last
        self._send, self.frames = _frame_buffer()
        self.error: Exception | None = None

    def accept(self, frame: Frame) -> bool:
        """Hand a frame on."""
        if frame.name == "query_error":
            self.fail(decode_error(frame))
            return True
        try:
            self._send.send_nowait(frame)
        except anyio.WouldBlock:
            self.fail(MemqlError(Code.RESOURCE_EXHAUSTED, f"more than {_FLOW_BUFFER} answers wait to be read"))
            return True
        if self._is_last(frame):
            self._send.close()
            return True
        return False

    def fail(self, error: Exception) -> None:
        """Finish with an error."""
        self.error = error
        self._send.close()

    def close(self) -> None:
        """Free both ends."""
        self._send.close()
        self.frames.close()


def _frame_buffer() -> tuple[MemoryObjectSendStream[Frame], MemoryObjectReceiveStream[Frame]]:
    return anyio.create_memory_object_stream[Frame](_FLOW_BUFFER)


class Link:
    """See the module.

    :param on_push: gets frames that answer nothing: events, client tool calls; must not wait.
    :param on_end: called when the stream is gone, before the requests on it fail.
    """

    def __init__(
        self, transport: Transport, on_push: Callable[[Link, Frame], None], on_end: Callable[[Link], None]
    ) -> None:
        self._transport = transport
        self._on_push = on_push
        self._on_end = on_end
        self._pending: dict[str, _Pending] = {}
        self._ids = itertools.count(1)
        self._slots = asyncio.Semaphore(_MAX_INFLIGHT)
        self._outbox: deque[tuple[_Pending | None, bytes]] = deque()
        self._loop = asyncio.get_running_loop()
        self._posted = self._loop.create_future()
        self._open = anyio.CancelScope()
        self._listening = anyio.CancelScope()
        self._patience: float | None = None
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._idle: anyio.Event | None = None
        self.ended = anyio.Event()
        """Set when the stream is gone."""
        self.error: MemqlError | None = None
        """Why it is gone; None when the server closed it in good order."""
        self.unexplained = False
        """Whether the reason it is gone may have been lost."""
        self.draining = anyio.Event()
        """Set when the server asked its clients to move."""

    async def run(self) -> None:
        """Carry frames until the stream ends or :meth:`close` is called; never raises but when cancelled."""
        try:
            with self._open:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._write, name="memql client writer")
                    await self._read()
                    group.cancel_scope.cancel()
        except* StreamLostError as lost:
            first = first_of(lost)
            self.error, self.unexplained = first.error, first.unexplained
        except* MalformedMessageError as malformed:
            self.error = MemqlError(Code.INTERNAL, f"the server sent a malformed frame: {first_of(malformed)}")
        finally:
            self._end()
            with anyio.move_on_after(2, shield=True):
                await self._transport.aclose()

    async def request(self, pending: _Reply[_T], name: str, encode: Callable[[str], bytes], timeout: float) -> _T:
        """Send a payload and wait for its answer.

        Cancellation and the time limit send a ``CancelRequest``.

        :param encode: from the request id to the payload's bytes.
        :param timeout: seconds until the request is given up; it travels along as the server's deadline.
        :raises MemqlError: the server's error, or ``TIMEOUT``.
        :raises LinkLostError: when the stream ended first.
        """
        left = await self._take_slot(timeout)
        request_id = self._begin(pending)
        expiry = self._loop.call_later(left, self._expire, pending, request_id, timeout)
        try:
            self._post(pending, encode_payload(name, request_id, encode(request_id), left))
            return await pending.future
        except asyncio.CancelledError:
            self._cancel(request_id)
            raise
        finally:
            expiry.cancel()
            self._finish(request_id)

    async def open_flow(self, flow: Flow, encode: Callable[[str], bytes], name: str, timeout: float) -> str:
        """Send a payload whose answers go to ``flow``; end it with :meth:`close_flow`."""
        left = await self._take_slot(timeout)
        request_id = self._begin(flow)
        try:
            self._post(flow, encode_payload(name, request_id, encode(request_id), left))
        except BaseException:
            self._finish(request_id)
            raise
        return request_id

    def close_flow(self, flow: Flow, request_id: str) -> None:
        """Stop listening; a flow that is still open is cancelled at the server."""
        if request_id in self._pending:
            self._cancel(request_id)
        self._finish(request_id)
        flow.close()

    async def hello(self, client_id: str, version: str, timeout: float) -> ServerInfo:
        """Greet and learn who answers.

        :raises MemqlError: the server's refusal, or ``UNAVAILABLE`` for another answer than a greeting.
        :raises LinkLostError: when the stream ended first.
        """
        message = messages.ClientHello(
            client_id=client_id,
            sdk_name="memql-python",
            sdk_version=version,
            features=["json-rows", "event-seq", "drain-notice"],
        )
        frame = await self.request(MessageReply(), "client_hello", lambda _: message_bytes(message), timeout)
        greeting = frame.message()
        if not isinstance(greeting, messages.ServerHello):
            raise MemqlError(Code.UNAVAILABLE, f"expected a greeting from the server, got {frame.name!r}")
        if greeting.heartbeat_ms:
            self._expect_within(greeting.heartbeat_ms / 1000 * _SILENT_HEARTBEATS)
        return ServerInfo(
            node_id=greeting.node_id,
            version=greeting.version,
            engine_version=greeting.engine_version,
            session_id=greeting.session_id,
            features=frozenset(greeting.features),
        )

    def post_nowait(self, message: betterproto2.Message) -> None:
        """Send a message that wants no answer; one that finds the outbox full is dropped with the stream's
        load."""
        if not self.ended.is_set() and len(self._outbox) < _OUTBOX:
            self._put(None, encode_message(self._next_id(), message))

    async def wait_idle(self, timeout: float) -> None:
        """Wait until no request is open, at most ``timeout`` seconds."""
        with anyio.move_on_after(timeout):
            while self._pending and not self.ended.is_set():
                self._idle = anyio.Event()
                await self._idle.wait()

    def close(self) -> None:
        """End the stream; :meth:`run` finishes soon after."""
        # Not by closing the transport: its reader would take that for a cancellation of the task that runs it.
        self._open.cancel()

    def _next_id(self) -> str:
        return str(next(self._ids))

    def _begin(self, pending: _Pending) -> str:
        if self.ended.is_set():
            self._slots.release()
            raise LinkLostError(self._lost_error(), sent=False)
        request_id = self._next_id()
        self._pending[request_id] = pending
        return request_id

    def _finish(self, request_id: str) -> None:
        self._pending.pop(request_id, None)
        self._slots.release()
        if self._idle is not None and not self._pending:
            self._idle.set()

    async def _take_slot(self, timeout: float) -> float:
        """Wait for a place; what is left of the time then."""
        if not self._slots.locked():
            await self._slots.acquire()  # at once
            return timeout
        deadline = self._loop.time() + timeout
        try:
            async with asyncio.timeout(timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise _timed_out(timeout) from None
        return max(deadline - self._loop.time(), 0.001)

    def _expire(self, pending: _Pending, request_id: str, timeout: float) -> None:
        if request_id in self._pending:
            self._cancel(request_id)
            pending.fail(_timed_out(timeout))

    def _post(self, pending: _Pending, envelope: bytes) -> None:
        if self.ended.is_set():
            raise LinkLostError(self._lost_error(), sent=False)
        if len(self._outbox) >= _OUTBOX:
            raise MemqlError(
                Code.RESOURCE_EXHAUSTED, f"{_OUTBOX} messages wait to be sent; the server takes them too slowly"
            )
        self._put(pending, envelope)

    def _put(self, pending: _Pending | None, envelope: bytes) -> None:
        self._outbox.append((pending, envelope))
        if not self._posted.done():
            self._posted.set_result(None)

    def _cancel(self, request_id: str) -> None:
        if request_id:
            self.post_nowait(messages.CancelRequestMsg(request_id=request_id))

    async def _write(self) -> None:
        while True:
            await self._posted
            while self._outbox:
                pending, envelope = self._outbox.popleft()
                if pending is not None:
                    pending.sent = True
                await self._transport.send(envelope)
            self._posted = self._loop.create_future()

    async def _read(self) -> None:
        now = self._loop.time
        with self._listening:
            while True:
                data = await self._transport.receive()
                self._heard = now()
                self._dispatch(decode_server(data))
        silence = MemqlError(Code.UNAVAILABLE, f"nothing came from the server for {self._patience:g} s")
        raise StreamLostError(silence)

    def _expect_within(self, seconds: float) -> None:
        self._patience = seconds
        self._check_silence()

    def _check_silence(self) -> None:
        """Stop listening once nothing came for too long; else look again when that could be."""
        assert self._patience is not None
        if self.ended.is_set():
            return
        due = self._heard + self._patience
        if due <= self._loop.time():
            self._listening.cancel()
        else:
            self._watch = self._loop.call_at(due, self._check_silence)

    def _dispatch(self, frame: Frame) -> None:
        pending = self._pending.get(frame.correlate_to) if frame.correlate_to else None
        if pending is None:
            self._on_push(self, frame)
        elif pending.accept(frame):
            del self._pending[frame.correlate_to]

    def _lost_error(self) -> MemqlError:
        return self.error or MemqlError(
            Code.UNAVAILABLE, "the server closed the stream before the answer came; try again"
        )

    def _end(self) -> None:
        self.ended.set()
        self._on_end(self)
        if self._idle is not None:
            self._idle.set()
        self._outbox.clear()
        if self._watch is not None:
            self._watch.cancel()
        pending, self._pending = self._pending, {}
        for waiting in pending.values():
            waiting.fail(LinkLostError(self._lost_error(), sent=waiting.sent))


def _timed_out(timeout: float) -> MemqlError:
    return MemqlError(Code.TIMEOUT, f"no answer within {timeout:g} s; the request was cancelled", retryable=True)
