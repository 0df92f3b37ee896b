"""The two envelopes of a stream between nodes: what the dialing side sends, and what the accepting side sends (spec
"Payloads")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import betterproto2

from memql.mesh.wire.messages import NodeClientMessage, NodeServerMessage
from memql.wire.frames import Frame, decode_frame, encode_entries
from memql.wire.generated import message_bytes
from memql.wire.payloads import PayloadTable
from memql.wire.protobuf import bytes_field, text_field

__all__ = ["FROM_ACCEPTOR", "FROM_DIALER", "METHOD", "SERVICE", "decode", "encode", "encode_body"]

SERVICE: Final = "znasllc.memql.node.v1.NodeService"
METHOD: Final = f"/{SERVICE}/Stream"

FROM_DIALER: Final = PayloadTable(NodeClientMessage)
"""What the side that dialed sends."""

FROM_ACCEPTOR: Final = PayloadTable(NodeServerMessage)
"""What the side that was dialed sends."""


def decode(data: bytes, table: PayloadTable) -> Frame:
    """Open an envelope.

    :param table: that of the side it came from.
    :raises MalformedMessageError: for bytes that are no envelope.
    """
    return decode_frame(data, table)


def encode(
    table: PayloadTable,
    message_id: str,
    message: betterproto2.Message,
    *,
    correlate_to: str = "",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """An envelope around a message.

    :param table: that of the sending side.
    :raises KeyError: for a message that this side does not send.
    """
    number = table.by_message[type(message)].number
    return encode_body(message_id, number, message_bytes(message), correlate_to=correlate_to, metadata=metadata)


def encode_body(
    message_id: str, number: int, body: bytes, *, correlate_to: str = "", metadata: Mapping[str, str] | None = None
) -> bytes:
    """An envelope around the bytes of payload ``number``."""
    return b"".join(
        (
            text_field(1, message_id),
            text_field(2, correlate_to),
            *encode_entries(metadata or {}),
            bytes_field(number, body),
        )
    )
