"""Lines of the nodes' logs: taken apart, and written for a person.

A node writes one JSON object a line. What else stands in its log (the error that kept it from starting, a traceback of
the interpreter) is shown as it is, at the moment of the line before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

__all__ = ["LEVELS", "LogLine", "parse_lines"]

LEVELS: Final[Mapping[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_OWN_PLACE: Final = frozenset({"timestamp", "level", "event", "logger", "exception", "stack"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line. ``when`` is RFC 3339 in UTC, which sorts as time does; ``level`` is empty for a line that is no record,
    whose whole text is then the ``event``."""

    node: str
    when: str
    event: str
    level: str = ""
    logger: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)
    trace: str = ""

    @property
    def severity(self) -> int:
        """The level as a number; lines that are no record count as the most severe: something went out of the way to
        say them."""
        return LEVELS.get(self.level, LEVELS["critical"])

    @property
    def clock(self) -> str:
        """The local time of day, to the millisecond; blank when it is not known."""
        try:
            when = datetime.fromisoformat(self.when)
        except ValueError:
            return " " * 12
        return when.astimezone().strftime("%H:%M:%S.%f")[:-3]

    @property
    def message(self) -> str:
        """The event and what belongs to it."""
        return " ".join([self.event, *(f"{name}={_brief(value)}" for name, value in self.more.items())])


def parse_lines(node: str, texts: Iterable[str], when: str = "") -> Iterator[LogLine]:
    """The lines of one node's log, in its order.

    :param when: the moment that lines which are no records have until a record tells another.
    """
    for text in texts:
        record = _record(text)
        if record is None:
            if text.strip():
                yield LogLine(node=node, when=when, event=text)
            continue
        when = str(record.get("timestamp") or when)
        yield LogLine(
            node=node,
            when=when,
            event=str(record["event"]),
            level=str(record.get("level", "info")),
            logger=str(record.get("logger", "")),
            more={name: value for name, value in record.items() if name not in _OWN_PLACE},
            trace=str(record.get("exception") or record.get("stack") or ""),
        )


def _record(text: str) -> dict[str, Any] | None:
    try:
        record = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    return record if isinstance(record, dict) and "event" in record else None


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
