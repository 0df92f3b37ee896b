"""Where to connect: the address forms of ``connect`` taken apart."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from memql.errors import Code, MemqlError

__all__ = ["Addresses", "Target", "parse_addresses", "parse_target"]

_GRPC = {"grpc": False, "http": False, "grpcs": True, "https": True}
_SOCKET = {"ws": False, "wss": True}
_BRIDGE_PATH = "/memql/ws"


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed address. ``location`` is ``host:port`` for gRPC and the whole URL for a WebSocket."""

    transport: Literal["grpc", "websocket"]
    location: str
    tls: bool
    host: str
    ca_file: Path | None = None

    def __str__(self) -> str:
        return self.location

    @property
    def is_local(self) -> bool:
        """Whether the host is this machine; then no proxy is asked."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    def certificate_authorities(self) -> bytes | None:
        """The PEM file to trust, or None for the system's.

        :raises MemqlError: ``CONFIG_INVALID`` when it cannot be read.
        """
        if self.ca_file is None:
            return None
        try:
            return self.ca_file.read_bytes()
        except OSError as error:
            raise MemqlError(
                Code.CONFIG_INVALID, f"the certificate file {self.ca_file} cannot be read: {error.strerror}"
            ) from error

    def ssl_context(self) -> ssl.SSLContext:
        """The TLS context of a WebSocket."""
        context = ssl.create_default_context()
        authorities = self.certificate_authorities()
        if authorities is not None:
            context.load_verify_locations(cadata=authorities.decode("ascii", "replace"))
        return context


def parse_target(address: str, ca_file: str | Path | None = None) -> Target:
    """Take an address apart: ``grpc``, ``http`` or bare ``host:port`` are plaintext gRPC, ``grpcs`` and
    ``https`` gRPC over TLS, ``ws`` and ``wss`` the WebSocket bridge.

    :raises MemqlError: ``INVALID_ARGUMENT`` for anything else.
    """
    authority = Path(ca_file) if ca_file is not None else None
    text = address if "://" in address else f"grpc://{address}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _bad_address(address, str(error)) from error
    if not host:
        raise _bad_address(address, "it names no host")
    if parts.scheme in _SOCKET:
        path = parts.path if parts.path not in ("", "/") else _BRIDGE_PATH
        url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        return Target("websocket", url, _SOCKET[parts.scheme], host, authority)
    if parts.scheme in _GRPC:
        tls = _GRPC[parts.scheme]
        shown = f"[{host}]" if ":" in host else host
        return Target("grpc", f"{shown}:{port or (443 if tls else 50051)}", tls, host, authority)
    raise _bad_address(address, f"the scheme {parts.scheme!r} is not known")


class Addresses:
    """The addresses of one system in the order in which they are tried, and which of them is in use."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.all = tuple(targets)
        self.current = self.all[0]
        """In use, or tried last."""
        self._used = False

    def __str__(self) -> str:
        return ", ".join(map(str, self.all))

    def use(self, target: Target) -> None:
        """This one is dialled now."""
        self.current, self._used = target, True

    def next(self, *, leaving: bool = False) -> tuple[Target, ...]:
        """Those to dial now, in order: from the one after the one in use on, so that it comes last itself.

        :param leaving: it is to be left: leave it out, unless it is the only one.
        """
        begin = self.all.index(self.current) + self._used
        turned = self.all[begin:] + self.all[:begin]
        return turned[:-1] if leaving and len(turned) > 1 else turned


def parse_addresses(address: str | Sequence[str], ca_file: str | Path | None = None) -> Addresses:
    """One address, or several: a sequence, or a text with commas between them; see :func:`parse_target`.

    :raises MemqlError: ``INVALID_ARGUMENT`` for something that is no address, or for none.
    """
    texts = address.split(",") if isinstance(address, str) else address
    targets = dict.fromkeys(parse_target(text.strip(), ca_file) for text in texts if text.strip())
    if not targets:
        raise _bad_address(str(address), "it names no host")
    return Addresses(tuple(targets))


def _bad_address(address: str, reason: str) -> MemqlError:
    return MemqlError(
        Code.INVALID_ARGUMENT,
        f"{address!r} is not an address of a memQL node: {reason}; use host:port, grpc(s)://host:port or "
        "ws(s)://host:port",
    )
