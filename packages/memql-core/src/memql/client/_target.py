"""Where to connect: the address forms of ``connect`` taken apart."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from memql.errors import Code, MemqlError

__all__ = ["Target", "parse_target"]

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


def _bad_address(address: str, reason: str) -> MemqlError:
    return MemqlError(
        Code.INVALID_ARGUMENT,
        f"{address!r} is not an address of a memQL node: {reason}; use host:port, grpc(s)://host:port or "
        "ws(s)://host:port",
    )
