"""Where a request comes from, and whether it came over TLS, through trusted proxies only (spec "Anti-abuse and rate
limits", client IP)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

from aiohttp import web

__all__ = ["Networks", "client_ip", "is_secure"]

Networks: TypeAlias = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]


def client_ip(request: web.Request, proxies: Networks) -> str:
    """The address of the caller: the peer's, or the nearest one in ``X-Forwarded-For`` that is no trusted proxy; read
    from the right, since a caller can put anything on the left."""
    address = request.remote or ""
    hops = [hop.strip() for line in request.headers.getall("X-Forwarded-For", []) for hop in line.split(",")]
    while hops and _is_in(address, proxies):
        address = hops.pop()
    return address


def is_secure(request: web.Request, proxies: Networks) -> bool:
    """Whether the caller spoke TLS: to this process, or to a trusted proxy that says so."""
    if request.transport is not None and request.transport.get_extra_info("sslcontext") is not None:
        return True
    forwarded = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    return forwarded == "https" and _is_in(request.remote or "", proxies)


def _is_in(address: str, networks: Networks) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
