"""One stream, whatever carries it (spec "Envelopes", "Replies, errors, cancel").

Every request is a task of its own in the session's task group and is answered exactly once; nothing a handler
does can end the stream or hold up the receive loop. The transport gives frames to :meth:`Session.receive` and
writes the frames it is handed; a lock makes it the one writer.

Requests are native tasks in an ``asyncio.TaskGroup``, each stopped by one native cancellation: cancel scopes and
timeouts of their own would cost a short query more than all else that happens to it here.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from anyio.abc import TaskGroup

from memql.auth import Actor
from memql.errors import Code, MemqlError
from memql.server import metrics
from memql.server.codec import BadFrameError, Codec, Request
from memql.server.gate import QueryGate
from memql.server.limits import Limits
from memql.server.ports import Principal, Services
from memql.server.replies import Payload, coded, query_error
from memql.server.routing import MAX_TIMEOUT, Route, RouteTable, request_text
from memql.server.subscriptions.registry import Subscriptions
from memql.server.waiters import ClientCalls

if TYPE_CHECKING:
    from memql.server.keeper import Keeper

__all__ = ["FEATURES", "Call", "Screen", "Session", "StreamClosedError", "Write"]

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 30.0
"""A stream that was sent nothing for so long gets a heartbeat."""

FEATURES = ("json-rows", "event-seq", "drain-notice")
"""What this server offers beyond the original protocol."""

Write: TypeAlias = Callable[[bytes | str], Awaitable[None]]
"""Hands one frame to the transport; raises :class:`StreamClosedError` when that takes no more."""


Screen: TypeAlias = Callable[[str], MemqlError | None]
"""Why a payload of that name is refused, if it is."""


class StreamClosedError(Exception):
    """The transport can take no more frames; raised by it, handled here."""


@dataclass(slots=True)
class Call:
    """One request on one session. ``timeout`` is what the client asked for, in seconds, or None."""

    session: Session
    route: Route
    message: Any
    message_id: str
    request_id: str
    timeout: float | None = None
    stopped: Code | None = None
    """Why it is to end early: ``CANCELLED`` by its client, ``TIMEOUT``, or ``FORBIDDEN`` since its caller's access
    changed."""
    settled: bool = False
    """Set when its last frame is being sent; nothing stops it any more."""
    task: asyncio.Task[None] | None = None
    """The task that runs it, once it has begun to."""

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return self.session.principal.actor

    @property
    def services(self) -> Services:
        """The node's parts."""
        return self.session.services

    async def send(self, payload: Payload) -> None:
        """Send a payload before the last one."""
        await self.session.send(payload, self.message_id)

    def stop(self, reason: Code) -> bool:
        """End it early, for a reason that is told to the client; False when it is ending already."""
        if self.stopped is not None or self.settled:
            return False
        self.stopped = reason
        self.abandon()
        return True

    def abandon(self) -> None:
        """Interrupt the handler. One that has not begun looks at :attr:`stopped` instead: a task that is cancelled
        before its first step would never answer."""
        if self.task is not None and not self.settled:
            self.session.interrupt(self.task)

    def settle(self) -> None:
        """From here on its answer counts."""
        self.settled = True


class Session:
    """The state of one open stream. Enter it before the first frame; leaving it cancels everything it
    opened."""

    def __init__(
        self,
        *,
        services: Services,
        routes: RouteTable,
        principal: Principal,
        codec: Codec,
        write: Write,
        limits: Limits = Limits(),  # noqa: B008  frozen
    ) -> None:
        self.id = uuid.uuid4().hex
        self.services = services
        self.principal = principal
        self.codec = codec
        self.limits = limits
        self.client_id = ""
        self.features: frozenset[str] = frozenset()
        self.last_sent = time.monotonic()
        self.refusal: MemqlError | None = None
        """When set, further requests are refused with it; the drain sets it."""
        self.screen: Screen | None = None
        """When set, says which payloads the stream's credential may not send."""
        self.keeper: Keeper | None = None
        """Holds the stream to what its credential still allows, while it is open on a node."""
        self.subscriptions = Subscriptions(self)
        self.client_calls = ClientCalls(self)
        self._routes = routes
        self._write = write
        self._lock = asyncio.Lock()
        self._tasks: TaskGroup
        self._requests: asyncio.TaskGroup
        self._closing = False
        self._writer: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._inflight: dict[str, Call] = {}
        self._gate = QueryGate(limits)
        self._idle: anyio.Event | None = None
        self._numbers = count(1)

    async def __aenter__(self) -> Session:
        self._tasks = anyio.create_task_group()
        self._requests = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        await self._requests.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._closing = True
        self._tasks.cancel_scope.cancel()
        for call in self._inflight.values():
            call.abandon()
        try:
            # Each was cancelled once; being cancelled again here would only keep the loop busy while they end.
            with anyio.CancelScope(shield=True):
                await self._requests.__aexit__(None, None, None)
        except BaseException as failure:
            # Failures of requests; or gRPC has cancelled the stream itself, which no shield keeps out.
            kind, error, trace = type(failure), failure, failure.__traceback__
        return await self._tasks.__aexit__(kind, error, trace)

    # --- in -------------------------------------------------------------------------------------------------

    def receive(self, data: bytes | str) -> None:
        """Take one frame from the client. Never waits and never raises; answers are sent by tasks.

        :raises BadFrameError: when it cannot be read; :meth:`refuse_frame` answers it.
        """
        self.dispatch(self.codec.decode(data))

    def refuse_frame(self, error: BadFrameError) -> None:
        """Answer a frame that could not be read."""
        failure = MemqlError(Code.INVALID_ARGUMENT, error.reason)
        self.post(query_error(error.message_id, failure), error.message_id)

    async def answer(self, request: Request, limit: float = MAX_TIMEOUT) -> None:
        """Take one request and return when it is answered: for sessions of a single one, which are not entered.

        :param limit: seconds it may take at most, whatever it asks for.
        """
        begun = self._begin(request)
        if isinstance(begun, Call):
            begun.timeout = min(begun.timeout or limit, limit)
            await self._run(begun)
        elif begun is not None:
            await self.send(*begun)

    def dispatch(self, request: Request) -> None:
        """Start answering a request."""
        begun = self._begin(request)
        if isinstance(begun, Call):
            self._requests.create_task(self._run(begun), name=f"{request.name} {begun.request_id}")
        elif begun is not None:
            self.post(*begun)

    def _begin(self, request: Request) -> Call | tuple[Payload, str] | None:
        """The call that answers a request, or what it is answered at once and to which message, if anything."""
        request_id = request_text(request.message) or request.message_id or uuid.uuid4().hex
        route = self._routes.get(request.name)
        if route is None:
            what = f"payload {request.name!r}" if request.name else "an empty or unknown payload"
            failure = MemqlError(Code.UNIMPLEMENTED, f"{what} is not answered by this node")
            return query_error(request_id, failure), request.message_id
        call = Call(self, route, request.message, request.message_id, request_id)
        try:
            if self.screen is not None and (refused := self.screen(request.name)) is not None:
                raise refused
            call.timeout = _timeout(request)
            if route.inline is not None:
                payload = route.inline(call)
                return None if payload is None else (payload, call.message_id)
            self._admit(call)
        except MemqlError as error:
            return route.failure(call, error), call.message_id
        return call

    def cancel(self, request_id: str) -> bool:
        """Cancel an unfinished request; False when there is none of that id."""
        call = self._inflight.get(request_id)
        return call is not None and call.stop(Code.CANCELLED)

    def stop_all(self, reason: Code) -> None:
        """End every unfinished request early, but for the one that asks for it."""
        asking = asyncio.current_task()
        for call in tuple(self._inflight.values()):
            if call.task is None or call.task is not asking:
                call.stop(reason)

    def start(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any, name: str) -> None:
        """Run a task that lives as long as the stream; it must handle its own failures."""
        self._tasks.start_soon(work, *args, name=name)

    # --- out ------------------------------------------------------------------------------------------------

    def post(self, payload: Payload, correlate_to: str = "") -> None:
        """Send from a task of its own."""
        self._tasks.start_soon(self.send, payload, correlate_to, name="reply")

    async def send(
        self, payload: Payload, correlate_to: str = "", *, before_last: Callable[[], None] | None = None
    ) -> None:
        """Send a payload's frames; a closed stream swallows them.

        :param before_last: called when only the last frame is left; that one is no longer cancelled.
        """
        frames = self.codec.encode(self._next_id, correlate_to, payload, json_rows="json-rows" in self.features)
        current = next(frames)
        for following in frames:
            await self._send_frame(current)
            current = following
        if before_last is None:
            await self._send_frame(current)
            return
        async with self._lock:
            before_last()
            await self._put(current)

    def interrupt(self, task: asyncio.Task[Any]) -> None:
        """Cancel a request's task, once the frame that it may be writing is out."""
        if task is self._writer:
            self._interrupted = True
        else:
            task.cancel()

    async def _send_frame(self, frame: bytes | str) -> None:
        async with self._lock:
            self._writer = asyncio.current_task()
            try:
                # Half a frame would break the stream.
                with anyio.CancelScope(shield=True):
                    await self._put(frame)
            finally:
                self._writer = None
                interrupted, self._interrupted = self._interrupted, False
        if interrupted:
            raise asyncio.CancelledError

    async def _put(self, frame: bytes | str) -> None:
        try:
            await self._write(frame)
        except StreamClosedError:
            return
        self.last_sent = time.monotonic()

    def _next_id(self) -> str:
        return format(next(self._numbers), "x")

    # --- requests -------------------------------------------------------------------------------------------

    @property
    def inflight(self) -> int:
        """How many requests are unfinished."""
        return len(self._inflight)

    async def wait_idle(self) -> None:
        """Return when no request is unfinished."""
        while self._inflight:
            if self._idle is None:
                self._idle = anyio.Event()
            await self._idle.wait()

    def _admit(self, call: Call) -> None:
        if self.refusal is not None:
            raise self.refusal
        unfinished = self._inflight.get(call.request_id)
        if unfinished is not None and not unfinished.settled:
            raise MemqlError(
                Code.ALREADY_EXISTS, f"request id {call.request_id!r} is still unfinished; use a fresh one"
            )
        gated = call.route.is_query and self._gate.limited
        if gated:
            self._gate.enter()
        elif len(self._inflight) - self._gate.entered >= self.limits.inflight:
            raise MemqlError(
                Code.RESOURCE_EXHAUSTED,
                f"the stream has {self.limits.inflight} unfinished requests; wait for answers before sending more",
            )
        self._inflight[call.request_id] = call

    async def _run(self, call: Call) -> None:
        gated = call.route.is_query and self._gate.limited
        began, outcome = time.perf_counter(), "closed"
        call.task = asyncio.current_task()
        try:
            failure = await self._attempt(call, gated=gated)
            outcome = "ok" if failure is None else failure.status.name
            if failure is not None:
                await self.send(call.route.failure(call, failure), call.message_id, before_last=call.settle)
        finally:
            metrics.observe(call.route.name, outcome, time.perf_counter() - began)
            if self._inflight.get(call.request_id) is call:
                del self._inflight[call.request_id]
            if gated:
                self._gate.leave()
            if not self._inflight and self._idle is not None:
                self._idle.set()
                self._idle = None

    async def _attempt(self, call: Call, *, gated: bool) -> MemqlError | None:
        """Run the handler and send its answer; the failure to report instead, if any."""
        limit = min(call.timeout or call.route.timeout, MAX_TIMEOUT)
        try:
            payload = await self._handle(call, limit, gated=gated)
            if payload is None:
                call.settle()
            else:
                # The last frame is no longer cancelled: a request must not be answered twice.
                await self.send(payload, call.message_id, before_last=call.settle)
        except asyncio.CancelledError:
            if call.stopped is None or self._closing:
                raise
            _uncancel(call)
            return _stopped(call.stopped, limit)
        except Exception as error:
            return coded(error)
        return None

    async def _handle(self, call: Call, limit: float, *, gated: bool) -> Payload | None:
        assert call.route.handler is not None
        if call.stopped is not None or self._closing:
            raise asyncio.CancelledError
        # Only the handler is timed: sending passes at the client's pace.
        expiry = asyncio.get_running_loop().call_later(limit, call.stop, Code.TIMEOUT)
        try:
            if not gated:
                return await call.route.handler(call)
            async with self._gate:
                return await call.route.handler(call)
        finally:
            expiry.cancel()


def _uncancel(call: Call) -> None:
    assert call.task is not None
    if call.task.cancelling():
        call.task.uncancel()


def _stopped(reason: Code, limit: float) -> MemqlError:
    if reason is Code.CANCELLED:
        return MemqlError(reason, "the request was cancelled by its client", retryable=False)
    if reason is Code.FORBIDDEN:
        return MemqlError(reason, "your access changed while the request ran; repeat it if you still may")
    return MemqlError(reason, f"the request did not finish within {limit:g} s", retryable=True)


def _timeout(request: Request) -> float | None:
    text = request.metadata.get("timeout_ms")
    if not text:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise MemqlError(Code.INVALID_ARGUMENT, f"metadata.timeout_ms is {text!r}: expected whole milliseconds above 0")
    return min(int(text) / 1000, MAX_TIMEOUT)
