from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from memql.client import Code, MemqlError
from memql.client.sync import connect


@pytest.fixture
def threaded_node(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The scripted node on a thread of its own, so that the test may block."""
    opened = request.getfixturevalue("scripted_node_factory")
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(opened()) as node:
        node.portal = portal
        yield node


def test_calls_wait_for_their_answers(threaded_node: Any) -> None:
    with connect(threaded_node.grpc_address) as client:
        assert (client.status, client.server.node_id) == ("connected", "node-1")
        assert client.query("queryJobs", customerId="acme").single().str("title") == "Boiler"
        assert [row.str("title") for row in client.pages("queryJobs")] == ["Boiler"]
    assert client.status == "closed"


def test_errors_keep_their_codes(threaded_node: Any) -> None:
    with pytest.raises(MemqlError) as raised, connect(threaded_node.grpc_address, "wrong"):
        pass
    assert raised.value.code is Code.UNAUTHENTICATED


def test_events_are_iterated_and_end_with_the_block(threaded_node: Any) -> None:
    with connect(threaded_node.ws_address) as client:
        with client.subscribe("v1:ops:job") as events:
            stream = events._stream.id
            threaded_node.portal.call(threaded_node.peers[0].event, stream, {"n": 1})
            assert next(events).payload["n"] == 1
            with pytest.raises(MemqlError) as raised:
                events.next(timeout=0.01)
            assert raised.value.code is Code.TIMEOUT
        assert list(events) == []


def test_many_threads_share_one_client(threaded_node: Any) -> None:
    results: list[int] = []
    with connect(threaded_node.grpc_address) as client:
        threads = [threading.Thread(target=lambda: results.append(len(client.query("queryJobs")))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert results == [1] * 8


def test_an_exception_in_the_block_leaves_as_it_is(threaded_node: Any) -> None:
    with pytest.raises(KeyError, match="mine"), connect(threaded_node.grpc_address):
        raise KeyError("mine")
