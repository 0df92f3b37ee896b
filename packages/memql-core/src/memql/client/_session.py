"""One logical connection: dials, greets, replays subscriptions, dials again when the stream is lost."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import betterproto2
from anyio.abc import TaskGroup, TaskStatus

from memql.client._codec import decode_event
from memql.client._credentials import Credentials, TokenSource
from memql.client._link import Flow, Link, LinkLostError, MessageReply, RowsReply
from memql.client._reads import is_read
from memql.client._subscription import Subscription
from memql.client._target import Addresses, Target
from memql.client._transport import open_transport
from memql.client.model import Event, Reconnect, ServerInfo, Status
from memql.errors import Code, MemqlError
from memql.wire import messages
from memql.wire.frames import Frame, QueryRequest
from memql.wire.generated import message_bytes
from memql.wire.payloads import CLIENT

__all__ = ["Session"]

_M = TypeVar("_M", bound=betterproto2.Message)
_R = TypeVar("_R")

log = logging.getLogger(__name__)

_DRAIN_GRACE = 30.0
_REFUSED = frozenset({Code.FORBIDDEN, Code.INVALID_ARGUMENT})
_HOPELESS = frozenset({Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.CONFIG_INVALID})
_ELSEWHERE = frozenset({Code.UNAVAILABLE, Code.TIMEOUT})
"""Failures of a dial that another node may not have."""


class _UnexplainedError(Exception):
    """A dial failed and the server's reason was lost on the way."""


class Session:
    """See the module. Open with :meth:`run` in a task group; :meth:`close` ends it.

    :param on_client_tool: called in the reader with each tool call of the server; must not wait.
    """

    def __init__(
        self,
        addresses: Addresses,
        token: TokenSource,
        reconnect: Reconnect,
        timeout: float,
        version: str,
        on_client_tool: Callable[[Link, messages.ClientToolCall], None],
    ) -> None:
        self._addresses = addresses
        self.timeout = timeout
        self.status: Status = "reconnecting"
        self.server: ServerInfo | None = None
        self.reconnect_callbacks: list[Callable[[], Any]] = []
        self.client_id = uuid.uuid4().hex
        self._credentials = Credentials(token)
        self._dialled = anyio.Event()
        self._reconnect = reconnect
        self._version = version
        self._on_client_tool = on_client_tool
        self._subscriptions: dict[str, Subscription] = {}
        self._link: Link | None = None
        self._ready = anyio.Event()
        self._failure: MemqlError | None = None
        self._closing = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Dial, report started, then keep a stream up until :meth:`close` or until no attempt is left.

        :raises MemqlError: when the first dial fails.
        """
        async with anyio.create_task_group() as group:
            link = await self._dial(group)
            self._adopt(link)
            task_status.started()
            if self._credentials.can_renew:
                group.start_soon(self._keep_credential, name="memql client credential")
            try:
                await self._keep(group, link)
            finally:
                self._close_down()
                group.cancel_scope.cancel()

    def close(self) -> None:
        """End the session: waiting requests fail, subscriptions end."""
        self._closing.set()

    # --- requests ---

    async def ask(self, message: betterproto2.Message, answer: type[_M], *, read: bool, timeout: float | None) -> _M:
        """Send a message with a ``request_id`` and give back its answer.

        :param read: whether it may be sent again when the stream is lost before the answer.
        :raises MemqlError: the server's error, ``UNAVAILABLE`` when the stream was lost, or ``TIMEOUT``.
        """
        frame = await self.ask_frame(message, read=read, timeout=timeout)
        reply = frame.message()
        if not isinstance(reply, answer):
            name = CLIENT.by_message[type(message)].name
            raise MemqlError(Code.INTERNAL, f"the server answered {name!r} with {frame.name!r}")
        return reply

    async def ask_frame(self, message: betterproto2.Message, *, read: bool, timeout: float | None) -> Frame:
        """As :meth:`ask`, with the answer's frame as it came."""
        name = CLIENT.by_message[type(message)].name

        def encode(request_id: str) -> bytes:
            if hasattr(message, "request_id"):
                message.request_id = request_id
            return message_bytes(message)

        return await self._retrying(
            lambda link, limit: link.request(MessageReply(), name, encode, limit), lambda: read, timeout
        )

    async def rows(self, request: QueryRequest, *, read: bool | None, timeout: float | None) -> list[bytes]:
        """Run a query and give back its chunks; errors as for :meth:`ask`.

        :param read: as for :meth:`ask`; None to tell by the text.
        """

        def encode(request_id: str) -> bytes:
            request.request_id = request_id
            return request.encode()

        return await self._retrying(
            lambda link, limit: link.request(RowsReply(), "execute_query", encode, limit),
            lambda: is_read(request.query) if read is None else read,
            timeout,
        )

    async def open_flow(
        self, message: betterproto2.Message, is_last: Callable[[Frame], bool], timeout: float
    ) -> tuple[Link, Flow, str]:
        """Send a message that many frames answer; close with :meth:`Link.close_flow`."""
        link = await self._connected(self.timeout)
        flow = Flow(is_last)
        name = CLIENT.by_message[type(message)].name

        def encode(request_id: str) -> bytes:
            message.request_id = request_id  # type: ignore[attr-defined]
            return message_bytes(message)

        try:
            return link, flow, await link.open_flow(flow, encode, name, timeout)
        except LinkLostError as lost:
            flow.close()
            raise lost.error from None

    async def _retrying(
        self, attempt: Callable[[Link, float], Awaitable[_R]], read: Callable[[], bool], timeout: float | None
    ) -> _R:
        now = asyncio.get_running_loop().time
        left = self.timeout if timeout is None else timeout
        deadline = now() + left
        try:
            return await attempt(self._link_up or await self._connected(left), left)
        except LinkLostError as lost:
            if (lost.sent and not read()) or now() >= deadline:
                raise lost.error from None
        link = await self._connected(deadline - now())
        try:
            return await attempt(link, max(deadline - now(), 0.001))
        except LinkLostError as lost:
            raise lost.error from None

    @property
    def _link_up(self) -> Link | None:
        return self._link if self.status == "connected" else None

    async def _connected(self, patience: float) -> Link:
        if (link := self._link_up) is not None:
            return link
        try:
            with anyio.fail_after(max(patience, 0)):
                while self.status != "connected":
                    if self.status == "closed":
                        raise self._failure or _closed_error()
                    await self._ready.wait()
        except TimeoutError:
            raise MemqlError(
                Code.UNAVAILABLE, f"the stream to {self._addresses.current} is down and did not come back in time"
            ) from None
        assert self._link is not None
        return self._link

    # --- subscriptions ---

    async def subscribe(self, subscription: Subscription) -> None:
        """Register, then tell the server and wait for its consent.

        :raises MemqlError: the server's refusal.
        """
        self._subscriptions[subscription.id] = subscription
        try:
            link = await self._connected(self.timeout)
            await self._announce(link, subscription)
        except LinkLostError:
            # The next stream announces it; the consent that matters is that one's.
            await self._connected(self.timeout)
        except BaseException:
            self._subscriptions.pop(subscription.id, None)
            raise

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a subscription, here and at the server."""
        if self._subscriptions.pop(subscription.id, None) is not None and self._link is not None:
            self._link.post_nowait(messages.UnsubscribeMsg(subscription_id=subscription.id))

    async def _announce(self, link: Link, subscription: Subscription) -> None:
        subscription.attach(link)
        body = subscription.request()
        frame = await link.request(MessageReply(), "subscribe", lambda _: body, self.timeout)
        _, answer = decode_event(frame.body)
        if answer.payload.get("eventType") == "subscription-error":
            raise _subscription_error(answer)
        subscription.confirmed(answer.cursor)

    def _on_push(self, link: Link, frame: Frame) -> None:
        if frame.name == "event":
            self._on_event(link, *decode_event(frame.body))
        elif frame.name == "client_tool_call":
            call = frame.message()
            assert isinstance(call, messages.ClientToolCall)
            self._on_client_tool(link, call)

    def _on_event(self, link: Link, subscription_id: str, event: Event) -> None:
        kind = event.payload.get("eventType")
        if kind == "server-draining":
            link.draining.set()
        elif subscription := self._subscriptions.get(subscription_id):
            if kind == "subscription-error" and subscription.is_attached(link):
                del self._subscriptions[subscription_id]
                subscription.end(_subscription_error(event))
            else:
                subscription.deliver(link, event)

    # --- keeping a stream up ---

    async def _dial(self, group: TaskGroup, *, leaving: bool = False) -> Link:
        """Dial the next address that answers.

        :param leaving: the node in use is to be left, so another one is wanted where there is one.
        :raises MemqlError: the refusal of a node, or ``UNAVAILABLE`` when none answers.
        """
        candidates = self._addresses.next(leaving=leaving)
        in_use = self._addresses.current
        failure: MemqlError | None = None
        for target in candidates:
            self._addresses.use(target)
            try:
                return await self._dial_target(group, target, self.timeout / len(candidates))
            except MemqlError as error:
                failure = error
                if error.code not in _ELSEWHERE:
                    raise
        self._addresses.use(in_use)
        assert failure is not None
        raise failure if len(candidates) == 1 else _nobody(self._addresses, failure)

    async def _dial_target(self, group: TaskGroup, target: Target, limit: float) -> Link:
        try:
            return await self._dial_once(group, target, limit, patient=False)
        except _UnexplainedError:
            return await self._dial_once(group, target, limit, patient=True)

    async def _dial_once(self, group: TaskGroup, target: Target, limit: float, *, patient: bool) -> Link:
        token = await self._credentials.renew()
        transport = await open_transport(target, token, limit, patient=patient)
        link = Link(transport, self._on_push, self._on_end)
        group.start_soon(link.run, name="memql client stream")
        try:
            self.server = await link.hello(self.client_id, self._version, limit)
            await self._announce_again(link)
        except LinkLostError as lost:
            if link.unexplained and not patient:
                raise _UnexplainedError from lost
            raise lost.error from None
        except BaseException:
            # Another one is dialled next; this one must not go on listening.
            link.close()
            raise
        return link

    async def _announce_again(self, link: Link) -> None:
        """Announce what this client had subscribed to. What it may have no more ends, and keeps nothing else down."""
        for subscription in list(self._subscriptions.values()):
            try:
                await self._announce(link, subscription)
            except MemqlError as refusal:
                if refusal.code not in _REFUSED:
                    raise
                self._subscriptions.pop(subscription.id, None)
                subscription.end(refusal)

    def _adopt(self, link: Link) -> None:
        self._link = link
        self.status = "connected"
        self._ready.set()
        self._dialled.set()

    def _on_end(self, link: Link) -> None:
        if link is self._link and self.status == "connected":
            self.status = "reconnecting"
            self._ready = anyio.Event()

    async def _keep(self, group: TaskGroup, link: Link) -> None:
        while True:
            since = anyio.current_time()
            await _first_of(link.ended.wait, link.draining.wait, self._closing.wait)
            if self._closing.is_set():
                return
            held = anyio.current_time() - since
            if link.draining.is_set() and not link.ended.is_set():
                link = await self._move(group, link, held)
                continue
            next_link = await self._dial_again(group, link, fresh=held >= self._reconnect.stable_after)
            if next_link is None:
                return
            link = next_link
            self._adopt(link)
            await self._tell_reconnected()

    async def _keep_credential(self) -> None:
        """Change the stream's credential before it expires; each dial brings a fresh one by itself."""
        while True:
            self._dialled = anyio.Event()
            await _first_of(self._dialled.wait, limit=self._credentials.seconds_left())
            if self._dialled.is_set():
                continue
            try:
                await self.rotate(await self._credentials.renew())
            except MemqlError as error:
                # The old credential still holds; when it ends the server ends the stream, and the next dial asks anew.
                log.warning("the credential of the stream to %s was not renewed: %s", self._addresses.current, error)
                await self._dialled.wait()

    async def rotate(self, token: str) -> None:
        """Change the credential of the open stream; see :meth:`memql.client.Client.rotate_auth`."""
        message = messages.RotateAuthMsg(access_token=token)
        result = await self.ask(message, messages.RotateAuthResult, read=False, timeout=None)
        if not result.ok:
            raise MemqlError(
                Code.UNAUTHENTICATED,
                f"the new credential was refused: {result.error_description or result.error}",
                details={"error": result.error},
            )

    async def _move(self, group: TaskGroup, old: Link, held: float) -> Link:
        """Open a stream elsewhere, take the subscriptions over, and let the old one finish what it has.

        Gives the old one when it ended before another server answered.

        :param held: for how many seconds the old one has been the stream; a server that drains already when it is
            reached is not left at once, because the next one may be the same.
        """
        policy = self._reconnect
        delay = max(policy.initial - held, 0.0)
        while True:
            await _first_of(old.ended.wait, self._closing.wait, limit=delay)
            if old.ended.is_set() or self._closing.is_set():
                return old
            try:
                fresh = await self._dial(group, leaving=True)
            except MemqlError:
                delay = min(max(delay * 2, policy.initial), policy.maximum)
            else:
                break
        self._adopt(fresh)
        group.start_soon(_retire, old, name="memql client drain")
        return fresh

    async def _dial_again(self, group: TaskGroup, lost: Link, *, fresh: bool) -> Link | None:
        policy = self._reconnect
        delay = 0.0 if fresh else policy.initial
        attempt = 0
        error = lost.error
        while policy.attempts is None or attempt < policy.attempts:
            attempt += 1
            await _first_of(self._closing.wait, limit=delay * random.uniform(0.8, 1.2))  # noqa: S311
            if self._closing.is_set():
                return None
            try:
                return await self._dial(group)
            except MemqlError as failure:
                error = failure
                if failure.code in _HOPELESS and not self._credentials.can_renew:
                    break
            delay = min(max(delay * 2, policy.initial), policy.maximum)
        self._failure = error or MemqlError(Code.UNAVAILABLE, f"the stream to {self._addresses.current} was lost")
        return None

    async def _tell_reconnected(self) -> None:
        for callback in list(self.reconnect_callbacks):
            outcome = callback()
            if inspect.isawaitable(outcome):
                await outcome

    def _close_down(self) -> None:
        """Nothing comes any more. A reader learns why if the session gave up; leaving a block is no failure."""
        self.status = "closed"
        self._ready.set()
        for subscription in self._subscriptions.values():
            subscription.end(self._failure)
        self._subscriptions.clear()


def _nobody(addresses: Addresses, last: MemqlError) -> MemqlError:
    return MemqlError(last.code, f"none of {addresses} answers; the last: {last.message}")


def _subscription_error(notice: Event) -> MemqlError:
    code = str(notice.payload.get("error", ""))
    return MemqlError(
        Code(code) if code in Code.__members__ else Code.INVALID_ARGUMENT,
        str(notice.payload.get("message", "the server refused the subscription")),
    )


def _closed_error() -> MemqlError:
    return MemqlError(Code.UNAVAILABLE, "the client is closed", retryable=False)


async def _retire(link: Link) -> None:
    await link.wait_idle(_DRAIN_GRACE)
    link.close()


async def _first_of(*waits: Callable[[], Awaitable[Any]], limit: float | None = None) -> None:
    """Return when the first of several waits does, or after ``limit`` seconds."""
    with anyio.move_on_after(limit):
        async with anyio.create_task_group() as group:

            async def wait(one: Callable[[], Awaitable[Any]]) -> None:
                await one()
                group.cancel_scope.cancel()

            for one in waits:
                group.start_soon(wait, one)
