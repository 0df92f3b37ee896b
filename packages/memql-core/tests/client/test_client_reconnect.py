from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import anyio
import pytest

from memql.client import Code, MemqlError, Reconnect, connect
from memql.client._credentials import expiry_of
from memql.wire import messages
from memql.wire.frames import Frame, encode_client

pytestmark = pytest.mark.anyio
FAST = Reconnect(initial=0.01, maximum=0.05)


async def hang(peer: Any, frame: Frame) -> None:
    """Answer nothing."""


async def test_a_lost_read_is_sent_again_once_on_the_next_stream(address: str, node: Any) -> None:
    async def lose_first(peer: Any, frame: Frame) -> None:
        if node.count("execute_query") == 0:
            peer.drop()
        else:
            await peer.rows(frame, b'{"data":[1]}')

    node.answers["execute_query"] = lose_first
    async with connect(address, reconnect=FAST) as client:
        assert (await client.query("queryJobs")).data == [1]
    assert len(node.peers) == 2


async def test_a_lost_write_is_never_sent_again(address: str, node: Any) -> None:
    async def lose(peer: Any, frame: Frame) -> None:
        peer.drop()

    node.answers["execute_query"] = lose
    async with connect(address, reconnect=FAST) as client:
        with pytest.raises(MemqlError) as raised:
            await client.query("mutationCreateJob", title="x")
        assert raised.value.code is Code.UNAVAILABLE
        assert raised.value.retryable
    assert node.count("execute_query") == 1


async def test_a_request_made_while_the_stream_is_down_waits_for_the_next(address: str, node: Any) -> None:
    async with connect(address, reconnect=FAST) as client:
        back = anyio.Event()
        client.on_reconnect(back.set)
        node.peers[0].drop()
        await back.wait()
        assert client.status == "connected"
        assert len(await client.query("mutationCreateJob")) == 1
        assert client.server.session_id == "s2"


async def test_subscriptions_are_sent_again_with_the_cursor_of_the_last_event(address: str, node: Any) -> None:
    async with (
        connect(address, reconnect=FAST) as client,
        client.subscribe("v1:ops:job", ["created"]) as events,
    ):
        await node.peers[0].event(events.id, {"topic": "t", "n": 1}, seq=1, cursor="c1")
        first = await events.next(5)
        node.peers[0].drop()
        again = (await node.wait_for("subscribe", 2)).message()
        await node.peers[1].event(events.id, {"topic": "t", "n": 2}, seq=1, cursor="c2")
        second = await events.next(5)
    assert isinstance(again, messages.SubscribeMsg)
    assert again.config is not None
    assert again.config.fields["resumeAfter"].string_value == "c1"
    assert (first.payload["n"], second.payload["n"], second.gap_before) == (1, 2, False)


async def test_a_subscription_without_events_resumes_from_its_consent(address: str, node: Any) -> None:
    async with connect(address, reconnect=FAST) as client, client.subscribe("v1:ops:job"):
        node.peers[0].drop()
        again = (await node.wait_for("subscribe", 2)).message()
    assert isinstance(again, messages.SubscribeMsg)
    assert again.config is not None
    assert again.config.fields["resumeAfter"].string_value == "c0"


async def test_without_any_position_the_first_event_after_a_loss_tells_of_the_gap(address: str, node: Any) -> None:
    async def consent(peer: Any, frame: Frame) -> None:
        message = frame.message()
        assert isinstance(message, messages.SubscribeMsg)
        ack = {"eventType": "subscription-created"}
        await peer.event(message.subscription_id, ack, correlate_to=frame.message_id)

    node.answers["subscribe"] = consent
    async with connect(address, reconnect=FAST) as client, client.subscribe("v1:ops:job") as events:
        back = anyio.Event()
        client.on_reconnect(back.set)
        node.peers[0].drop()
        await back.wait()
        for number in (1, 2):
            await node.peers[1].event(events.id, {"n": number}, seq=number)
        assert [(await events.next(5)).gap_before for _ in range(2)] == [True, False]


async def test_when_no_attempt_is_left_everything_ends_with_the_reason(node: Any) -> None:
    reconnect = Reconnect(initial=0.01, maximum=0.01, attempts=2)
    async with connect(node.ws_address, reconnect=reconnect) as client, client.subscribe("v1:ops:job") as events:
        node.answers["client_hello"] = _drop
        node.peers[0].drop()
        with pytest.raises(MemqlError) as raised:
            await events.next(10)
        assert raised.value.code is Code.UNAVAILABLE
        assert client.status == "closed"
        with pytest.raises(MemqlError):
            await client.query("queryJobs")


async def _drop(peer: Any, frame: Frame) -> None:
    peer.drop()


async def test_a_silent_server_is_taken_for_lost(node: Any) -> None:
    node.heartbeat_ms = 20
    async with connect(node.grpc_address, reconnect=FAST) as client:
        back = anyio.Event()
        client.on_reconnect(back.set)
        with anyio.fail_after(30):
            await back.wait()
    assert len(node.peers) >= 2


async def test_a_draining_server_is_left_without_losing_a_request_or_an_event(address: str, node: Any) -> None:
    node.answers["execute_query"] = hang
    answers: list[Any] = []
    async with connect(address, reconnect=FAST) as client, client.subscribe("v1:ops:job") as events:

        async def ask() -> None:
            answers.append((await client.query("mutationSlow")).data)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            slow = await node.wait_for("execute_query")
            old = node.peers[0]
            await old.event("", {"eventType": "server-draining", "graceSeconds": 5})
            await node.wait_for("subscribe", 2)
            del node.answers["execute_query"]
            assert len(await client.query("queryJobs")) == 1
            await node.peers[1].event(events.id, {"topic": "t", "n": 1}, seq=1, cursor="c1")
            assert (await events.next(5)).payload["n"] == 1
            await old.rows(slow, b'{"data":[7]}')
        assert answers == [[7]]
        assert client.status == "connected"
    assert len(node.peers) == 2


async def one_stream() -> None:
    """Wait until this process carries one stream only."""
    with anyio.fail_after(10):
        while sum(task.name == "memql client stream" for task in anyio.get_running_tasks()) != 1:  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def test_a_client_that_has_moved_lives_on_when_its_old_stream_has_closed(address: str, node: Any) -> None:
    async with connect(address, reconnect=FAST) as client, client.subscribe("v1:ops:job") as events:
        for place in range(2):
            await node.peers[place].event("", {"eventType": "server-draining", "graceSeconds": 5})
            await node.wait_for("subscribe", place + 2)
            await one_stream()
        await node.peers[2].event(events.id, {"n": 1}, seq=1, cursor="c1")
        assert (await events.next(5)).payload["n"] == 1
        assert len(await client.query("queryJobs")) == 1


async def test_a_client_that_finds_nowhere_to_move_keeps_its_stream_and_tries_again(address: str, node: Any) -> None:
    refusals = 0

    async def refuse_twice(peer: Any, frame: Frame) -> None:
        nonlocal refusals
        refusals += 1
        if refusals <= 2:
            await peer.fail(frame, "Unavailable", "the node is shutting down")
        else:
            del node.answers["client_hello"]
            await node.take(peer, encode_client(frame.message_id, frame.number, frame.body))

    async with connect(address, reconnect=FAST) as client, client.subscribe("v1:ops:job") as events:
        lost = anyio.Event()
        client.on_reconnect(lost.set)
        node.answers["client_hello"] = refuse_twice
        await node.peers[0].event("", {"eventType": "server-draining", "graceSeconds": 5})
        await node.peers[0].event(events.id, {"n": 1}, seq=1, cursor="c1")
        assert (await events.next(5)).payload["n"] == 1
        await node.wait_for("subscribe", 2)
        assert len(await client.query("queryJobs")) == 1
        await one_stream()
        assert not lost.is_set()
    assert refusals == 3


async def test_a_reader_whose_client_is_cancelled_comes_to_its_end_and_has_not_failed(address: str, node: Any) -> None:
    reading, ends = anyio.Event(), []

    async def read() -> None:
        async with connect(address) as client, client.subscribe("v1:ops:job") as events:
            reading.set()
            with anyio.CancelScope(shield=True):
                ends.append([event async for event in events])

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await reading.wait()
        group.cancel_scope.cancel()
    assert ends == [[]]


async def test_events_beyond_the_buffer_push_out_the_oldest_and_mark_the_gap(address: str, node: Any) -> None:
    async with connect(address) as client, client.subscribe("v1:ops:job", buffer=2) as events:
        for number in range(1, 6):
            await node.peers[0].event(events.id, {"n": number}, seq=number, cursor=f"c{number}")
        await client.query("queryJobs")
        got = [await events.next(5), await events.next(5)]
        await node.peers[0].event(events.id, {"n": 6}, seq=6, cursor="c6")
        got.append(await events.next(5))
    assert [(one.payload["n"], one.gap_before) for one in got] == [(4, True), (5, False), (6, False)]


async def test_a_refused_subscription_raises(address: str, node: Any) -> None:
    async def refuse(peer: Any, frame: Frame) -> None:
        await peer.event(
            "", {"eventType": "subscription-error", "message": "reserved root"}, correlate_to=frame.message_id
        )

    node.answers["subscribe"] = refuse
    async with connect(address) as client:
        with pytest.raises(MemqlError, match="reserved root"):
            async with client.subscribe(kind="domain_events", filter="graph.#"):
                pass


async def test_a_subscription_that_the_server_ends_tells_its_reader_why(address: str, node: Any) -> None:
    async with connect(address) as client, client.subscribe("v1:ops:job") as events:
        await node.peers[0].event(events.id, {"n": 1})
        why = {"eventType": "subscription-error", "error": "FORBIDDEN", "message": "your role is another one now"}
        await node.peers[0].event(events.id, why)
        assert (await events.next(5)).payload["n"] == 1
        with pytest.raises(MemqlError, match="another one") as raised:
            await events.next(5)
        assert raised.value.code is Code.FORBIDDEN
        assert len(await client.query("queryJobs")) == 1


async def test_a_subscription_that_is_refused_later_keeps_no_other_and_no_stream_down(address: str, node: Any) -> None:
    async with (
        connect(address, reconnect=FAST) as client,
        client.subscribe("v1:ops:job") as lost,
        client.subscribe("v1:ops:visit") as kept,
    ):

        async def refuse_one(peer: Any, frame: Frame) -> None:
            message = frame.message()
            assert isinstance(message, messages.SubscribeMsg)
            no = {"eventType": "subscription-error", "error": "FORBIDDEN", "message": "no more"}
            yes = {"eventType": "subscription-created"}
            answer = no if message.concept == "v1:ops:job" else yes
            await peer.event(message.subscription_id, answer, correlate_to=frame.message_id, cursor="c0")

        node.answers["subscribe"] = refuse_one
        node.peers[0].drop()
        with pytest.raises(MemqlError, match="no more"):
            await lost.next(5)
        await node.wait_for("subscribe", 4)
        await node.peers[1].event(kept.id, {"n": 1}, seq=1)
        assert (await kept.next(5)).payload["n"] == 1
        assert client.status == "connected"
        assert len(node.peers) == 2


async def test_an_unknown_kind_or_action_is_refused_before_anything_is_sent(address: str, node: Any) -> None:
    async with connect(address) as client:
        for arguments in ({"kind": "weather"}, {"actions": ["burnt"]}):
            with pytest.raises(MemqlError) as raised:
                async with client.subscribe("v1:ops:job", **arguments):
                    pass
            assert raised.value.code is Code.INVALID_ARGUMENT
    assert node.count("subscribe") == 0


async def test_leaving_a_subscription_tells_the_server(address: str, node: Any) -> None:
    async with connect(address) as client:
        async with client.subscribe("v1:ops:job") as events:
            pass
        gone = (await node.wait_for("unsubscribe")).message()
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    assert isinstance(gone, messages.UnsubscribeMsg)
    assert gone.subscription_id == events.id


def jwt(expires_in: float, name: str) -> str:
    claims = urlsafe_b64encode(json.dumps({"exp": time.time() + expires_in, "sub": name}).encode()).decode().rstrip("=")
    return f"e30.{claims}.sig"


async def test_a_credential_is_renewed_before_it_expires_without_losing_the_stream(address: str, node: Any) -> None:
    tokens = [jwt(60.1, "first"), jwt(3600, "second")]

    async def source() -> str:
        return tokens.pop(0)

    async def rotate(peer: Any, frame: Frame) -> None:
        await peer.reply(frame, messages.RotateAuthResult(ok=True))

    node.answers["rotate_auth"] = rotate
    wanted = tokens[1]
    async with connect(address, source) as client:
        message = (await node.wait_for("rotate_auth")).message()
        assert len(await client.query("queryJobs")) == 1
    assert isinstance(message, messages.RotateAuthMsg)
    assert message.access_token == wanted
    assert len(node.peers) == 1


@pytest.mark.parametrize("token", ["", "mql_pat_x", "a.b.c", "a.!.c", "a.e30.c", "Operator x"])
async def test_only_a_jwt_has_an_expiry(token: str) -> None:
    assert expiry_of(token) is None
    assert expiry_of(jwt(0, "x")) is not None


async def test_of_several_addresses_the_first_that_answers_is_used(node: Any) -> None:
    async with connect(f"127.0.0.1:1, {node.grpc_address}", timeout=10) as client:
        assert (await client.query("queryJobs")).data == [{"title": "Boiler"}]
    assert len(node.peers) == 1


async def test_when_no_address_answers_the_error_names_them_all() -> None:
    with pytest.raises(MemqlError, match=r"none of 127\.0\.0\.1:1, 127\.0\.0\.1:2 answers") as raised:
        async with connect(["127.0.0.1:1", "127.0.0.1:2"], timeout=10):
            pass
    assert raised.value.code is Code.UNAVAILABLE


async def test_a_refused_credential_is_not_tried_at_the_next_address(node: Any, scripted_node_factory: Any) -> None:
    async with scripted_node_factory() as other:
        with pytest.raises(MemqlError) as raised:
            async with connect([node.grpc_address, other.grpc_address], "wrong"):
                pass
        assert raised.value.code is Code.UNAUTHENTICATED
        assert not other.peers


async def test_a_lost_stream_goes_on_at_the_next_address(node: Any, scripted_node_factory: Any) -> None:
    async with (
        scripted_node_factory() as other,
        connect([node.grpc_address, other.ws_address], reconnect=FAST) as client,
        client.subscribe("v1:ops:job") as events,
    ):
        await node.peers[0].event(events.id, {"n": 1}, seq=1, cursor="c1")
        assert (await events.next(5)).payload == {"n": 1}
        node.peers[0].drop()
        again = (await other.wait_for("subscribe")).message()
        assert isinstance(again, messages.SubscribeMsg)
        assert again.config is not None
        assert again.config.fields["resumeAfter"].string_value == "c1"
        assert len(await client.query("queryJobs")) == 1
        assert (len(node.peers), len(other.peers)) == (1, 1)


async def test_a_draining_node_is_left_for_another_address(node: Any, scripted_node_factory: Any) -> None:
    async with (
        scripted_node_factory() as other,
        connect([node.grpc_address, other.grpc_address], reconnect=FAST) as client,
        client.subscribe("v1:ops:job") as events,
    ):
        await node.peers[0].event("", {"eventType": "server-draining", "graceSeconds": 5})
        await other.wait_for("subscribe")
        await other.peers[0].event(events.id, {"n": 2}, seq=1, cursor="c2")
        assert (await events.next(5)).payload == {"n": 2}
        assert (len(node.peers), len(other.peers)) == (1, 1)
        # The client itself ends the stream that it has left; nothing else ends with it.
        with anyio.fail_after(10):
            await node.peers[0].ended.wait()
        assert len(await client.query("queryJobs")) == 1
        await other.peers[0].event(events.id, {"n": 3}, seq=2, cursor="c3")
        assert (await events.next(5)).payload == {"n": 3}


async def test_a_draining_node_is_kept_to_its_end_while_no_other_address_answers(node: Any) -> None:
    async with connect([node.grpc_address, "127.0.0.1:1"], reconnect=FAST, timeout=10) as client:
        await node.peers[0].event("", {"eventType": "server-draining", "graceSeconds": 5})
        assert len(await client.query("queryJobs")) == 1
        assert len(node.peers) == 1
        node.peers[0].drop()
        assert len(await client.query("queryJobs")) == 1
    assert len(node.peers) == 2
