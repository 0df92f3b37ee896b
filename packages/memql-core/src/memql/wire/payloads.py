"""The payloads of the two envelopes: field name, number and message class (spec "Catalogue")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import betterproto2

from memql.wire.messages import MemqlClientMessage, MemqlServerMessage

__all__ = ["CLIENT", "SERVER", "Payload", "PayloadTable"]


class Payload(NamedTuple):
    """One member of an envelope's oneof. ``name`` is the field's, in snake case."""

    name: str
    number: int
    message: type[betterproto2.Message]


class PayloadTable:
    """The oneof of one envelope."""

    def __init__(self, envelope: type[betterproto2.Message]) -> None:
        meta: betterproto2.ProtoClassMetadata = envelope._betterproto  # type: ignore[arg-type]
        members = [
            Payload(name, field.number, meta.cls_by_field[name])
            for name, field in meta.meta_by_field_name.items()
            if field.group == "payload"
        ]
        self.by_name: Mapping[str, Payload] = {member.name: member for member in members}
        self.by_number: Mapping[int, Payload] = {member.number: member for member in members}
        self.by_message: Mapping[type, Payload] = {member.message: member for member in members}


CLIENT = PayloadTable(MemqlClientMessage)
"""What a client sends."""

SERVER = PayloadTable(MemqlServerMessage)
"""What a node sends."""
