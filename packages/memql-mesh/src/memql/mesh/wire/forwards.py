"""``SIForwardRequest`` as bytes, no further than forwarding needs it: what it says of its caller stays as it came."""

from __future__ import annotations

from typing import Final

import msgspec

from memql.wire.protobuf import MalformedMessageError, bool_field, bytes_field, fields, text, text_field, varint_field

__all__ = ["ForwardFrame"]

_REQUEST_ID: Final = 1
_CLAIMS: Final = 2
_ENVELOPE: Final = 4
_AUTHORITY: Final = 5
_CONTINUATION: Final = 6
_DEADLINE: Final = 200


class ForwardFrame(msgspec.Struct, frozen=True, gc=False):
    """A request, or what belongs to one. ``envelope`` is the client's message with its envelope; ``said`` the fields
    that tell on whose behalf it comes, attribution and authority, as bytes of the same message."""

    request_id: str = ""
    envelope: bytes = b""
    said: bytes = b""
    continuation: bool = False
    deadline_ms: int = 0

    def encode(self) -> bytes:
        """The bytes of the message."""
        return b"".join(
            (
                text_field(_REQUEST_ID, self.request_id),
                self.said,
                bytes_field(_ENVELOPE, self.envelope),
                bool_field(_CONTINUATION, self.continuation),
                varint_field(_DEADLINE, self.deadline_ms),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> ForwardFrame:
        """From the bytes of the message.

        :raises MalformedMessageError: when they are none.
        """
        request_id, envelope, continuation, deadline = "", b"", False, 0
        said: list[bytes] = []
        for number, value in fields(data):
            if isinstance(value, int):
                if number == _CONTINUATION:
                    continuation = bool(value)
                elif number == _DEADLINE:
                    deadline = value
                elif number <= _CONTINUATION:
                    raise MalformedMessageError(f"field {number} of a forwarded request is a number")
            elif number == _REQUEST_ID:
                request_id = text(value)
            elif number == _ENVELOPE:
                envelope = value
            elif number in (_CLAIMS, _AUTHORITY):
                said.append(bytes_field(number, value))
        return cls(request_id, envelope, b"".join(said), continuation, deadline)
