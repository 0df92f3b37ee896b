"""The types a setting can have, each parsed from the text of an environment variable.

A parser raises :class:`ValueError` saying what it expected; the loader adds the variable and its value.
"""

from __future__ import annotations

import binascii
import ipaddress
import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

__all__ = [
    "Address",
    "BaseUrl",
    "ClientsText",
    "Flag",
    "HomePath",
    "Labels",
    "ListenAddress",
    "Networks",
    "OptionalAddress",
    "PathList",
    "RoleSecretsText",
    "Seconds",
    "SeedText",
    "TextList",
    "parse_address",
    "parse_clients",
    "parse_duration",
    "parse_role_secrets",
    "parse_seed",
]

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_SHORTEST_SECRET = 32
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


def _check_url(text: str) -> str:
    """An absolute http(s) URL, without a slash at its end; or nothing."""
    if not text:
        return text
    problem = 'expected an absolute URL such as "https://identity.example.com:8085", without query or fragment'
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(problem) from error
    if not sound or parts.query or parts.fragment or parts.username:
        raise ValueError(problem)
    return text.rstrip("/")


def _parse_networks(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return tuple(ipaddress.ip_network(item, strict=False) for item in _parse_text_list(text))
    except ValueError as error:
        raise ValueError('expected networks such as "10.0.0.0/8,fd00::/8"') from error


def parse_seed(text: str) -> bytes:
    """The 32 bytes of an Ed25519 seed in standard base64.

    :raises ValueError: when it is none.
    """
    try:
        seed = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("expected 32 bytes in standard base64") from error
    if len(seed) != 32:
        raise ValueError(f"expected 32 bytes in standard base64, got {len(seed)}")
    return seed


def parse_role_secrets(text: str) -> dict[str, str]:
    """Secrets by the role that each is for.

    :raises ValueError: when the text is no such object, a secret is short, or two roles share one.
    """
    problem = 'expected JSON such as {"agent": "a secret of 32 characters or more"}'
    found = _json(text, problem) if text else {}
    if not isinstance(found, dict) or not all(isinstance(secret, str) for secret in found.values()):
        raise ValueError(problem)
    if any(len(secret) < _SHORTEST_SECRET for secret in found.values()):
        raise ValueError(f"expected secrets of {_SHORTEST_SECRET} characters or more")
    if len(set(found.values())) != len(found):
        raise ValueError("expected a secret of its own for each role")
    return found


def parse_clients(text: str) -> dict[str, tuple[str, ...]]:
    """Redirect URIs by client id.

    :raises ValueError: when the text is no such list, or a URI has a wildcard.
    """
    problem = 'expected JSON such as [{"clientId": "web", "redirectURIs": ["https://app.example.com/signed-in"]}]'
    found = _json(text, problem) if text else []
    if not isinstance(found, list):
        raise ValueError(problem)
    return dict(_client(item, problem) for item in found)


def _client(item: Any, problem: str) -> tuple[str, tuple[str, ...]]:
    name, uris = (item.get("clientId"), item.get("redirectURIs")) if isinstance(item, dict) else (None, None)
    if not (isinstance(name, str) and name and isinstance(uris, list) and all(isinstance(uri, str) for uri in uris)):
        raise ValueError(problem)
    if any("*" in uri for uri in uris):
        raise ValueError(f"expected exact redirect URIs; one of {name!r} has a wildcard")
    return name, tuple(uris)


def _json(text: str, problem: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(problem) from error


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Refuse a text that cannot be parsed, and keep the text."""

    def check(text: str) -> str:
        if text:
            parse(text)
        return text

    return AfterValidator(check)


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
BaseUrl = Annotated[str, AfterValidator(_check_url)]
"""An absolute http(s) URL without a slash at its end, or empty."""
Networks = Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], BeforeValidator(_parse_networks)]
"""Comma-separated CIDR ranges."""
SeedText = Annotated[str, _checked(parse_seed)]
"""What :func:`parse_seed` takes, or empty."""
RoleSecretsText = Annotated[str, _checked(parse_role_secrets)]
"""What :func:`parse_role_secrets` takes, or empty."""
ClientsText = Annotated[str, _checked(parse_clients)]
"""What :func:`parse_clients` takes, or empty."""
