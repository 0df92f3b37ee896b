"""The types a setting can have, each parsed from the text of an environment variable.

A parser raises :class:`ValueError` saying what it expected; the loader adds the variable and its value.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

__all__ = [
    "Address",
    "Flag",
    "HomePath",
    "Labels",
    "ListenAddress",
    "OptionalAddress",
    "PathList",
    "Seconds",
    "TextList",
    "parse_address",
    "parse_duration",
]

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^:\[\]\s]*)):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. An empty ``host`` means every interface; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def bind_host(self) -> str:
        """The host to bind: ``0.0.0.0`` for every interface."""
        return self.host or "0.0.0.0"  # noqa: S104  every interface is what an empty host asks for

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: Any) -> Any:
    """``host:port``, ``[v6]:port``, or ``:port`` for every interface."""
    if not isinstance(text, str):
        return text
    match = _HOST_PORT.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise ValueError('expected "host:port", or ":port" for every interface, with a port from 0 to 65535')
    return Address(match["v6"] or match["host"] or "", int(match["port"]))


def parse_duration(text: Any) -> Any:
    """Seconds, from ``5s``, ``500ms``, ``1m30s``, ``24h``, ``7d`` or a plain number of seconds."""
    if not isinstance(text, str):
        return text
    compact = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        return float(compact)
    parts = _DURATION_PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError('expected a duration such as "5s", "500ms", "1m30s" or "24h"')
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def _parse_flag(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("expected true or false (also 1/0, yes/no, on/off)")


def _parse_text_list(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    return tuple(item for item in (part.strip() for part in text.split(",")) if item)


def _parse_path_list(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    return tuple(Path(item).expanduser() for item in text.split(":") if item.strip())


def _parse_labels(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    labels: dict[str, str] = {}
    for item in _parse_text_list(text):
        name, sign, value = item.partition("=")
        if not sign or not name.strip():
            raise ValueError('expected labels such as "zone=a,disk=ssd"')
        labels[name.strip()] = value.strip()
    return labels


def _parse_home(text: Any) -> Any:
    return Path(text).expanduser() if isinstance(text, str) else text


Flag = Annotated[bool, BeforeValidator(_parse_flag)]
"""true/false, 1/0, yes/no or on/off."""
Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""A duration, in seconds."""
ListenAddress = Annotated[Address, BeforeValidator(parse_address)]
"""Where to listen."""
OptionalAddress = Annotated[Address | None, BeforeValidator(parse_address)]
"""Where to listen, or None."""
TextList = Annotated[tuple[str, ...], BeforeValidator(_parse_text_list)]
"""Comma-separated texts, blanks around them dropped."""
PathList = Annotated[tuple[Path, ...], BeforeValidator(_parse_path_list)]
"""Paths separated by colons, ``~`` expanded."""
Labels = Annotated[Mapping[str, str], BeforeValidator(_parse_labels)]
"""Comma-separated ``name=value`` pairs."""
HomePath = Annotated[Path, BeforeValidator(_parse_home)]
"""A path, ``~`` expanded."""
