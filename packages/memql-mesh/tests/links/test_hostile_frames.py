"""Whatever a peer sends, it ends its own stream at most, and the node says why."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from hostile import frames
from hypothesis import HealthCheck, given, settings
from mesh_nodes import Member, member

from memql.errors import Code
from memql.mesh.links.link import BATCHES, Link
from memql.mesh.links.streams import StreamLostError
from memql.mesh.peers import Card
from memql.mesh.wire.envelopes import FROM_ACCEPTOR, FROM_DIALER

pytestmark = pytest.mark.anyio


@dataclass
class Playing:
    """A stream that brings what it was given, and then ends."""

    frames: list[bytes]
    written: list[bytes] = field(default_factory=list)

    async def read(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self.frames:
            raise StreamLostError
        return self.frames.pop(0)

    async def write(self, envelope: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.written.append(envelope)


@pytest.fixture
async def node(dsn: str, tmp_path: Path) -> AsyncIterator[Member]:
    async with member(dsn, "bff", "bff-1", tmp_path) as one:
        yield one


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames(FROM_DIALER))
async def test_what_dialing_nodes_send_ends_their_stream_at_most(
    node: Member, caplog: pytest.LogCaptureFixture, sent: list[bytes]
) -> None:
    await play(node, sent, dialed=False)
    unexpected(caplog)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames(FROM_ACCEPTOR))
async def test_what_dialed_nodes_send_ends_their_stream_at_most(
    node: Member, caplog: pytest.LogCaptureFixture, sent: list[bytes]
) -> None:
    await play(node, sent, dialed=True)
    unexpected(caplog)


async def play(node: Member, sent: list[bytes], *, dialed: bool) -> None:
    stream = Playing(list(sent))
    card = Card(id="hostile", type="agent", capabilities=frozenset({BATCHES}), incarnation="1")
    link = Link(stream, card, dialed=dialed, options=node.mesh.options)
    with anyio.fail_after(30):
        await node.mesh.switchboard.serve(link)
    assert link.end_reason is None or link.end_reason.code is Code.INVALID_ARGUMENT
    assert not list(node.mesh.switchboard)


def unexpected(caplog: pytest.LogCaptureFixture) -> None:
    bad = [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]
    assert not bad, bad[0].getMessage()
