"""What the supervisor tells: a line for the person, and the same in its log, which ``memql cluster logs`` reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

__all__ = ["Journal", "Level"]

Level: TypeAlias = Literal["info", "warning", "error"]


class Journal:
    """Writes a log.

    :param show: shows a line to the person: its text, its level, and the id of the node it is about.
    """

    def __init__(self, log: Path, show: Callable[[str, Level, str], None]) -> None:
        self._log = log
        self._show = show

    def tell(self, text: str, *, level: Level = "info", node: str = "") -> None:
        """Something has happened.

        :param node: the node that it happened to.
        """
        record = {
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "level": level,
            "event": f"{node} {text}" if node else text,
            "logger": "memql.cluster",
        }
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(record) + b"\n")
        self._show(text, level, node)
