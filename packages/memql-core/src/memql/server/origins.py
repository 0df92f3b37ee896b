"""Which web pages may call this node (spec "GET /memql/ws")."""

from __future__ import annotations

import fnmatch
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

__all__ = ["OriginPolicy", "is_local_host"]


class OriginPolicy:
    """Globs on ``scheme://host[:port]``; without any, the node's own origin and pages of this machine."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(pattern.lower() for pattern in patterns)

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Whether a request may come in. Without an ``Origin`` no browser sent it, so it passes.

        :param host: the request's ``Host`` header.
        """
        if origin is None:
            return True
        origin = origin.lower()
        if self.patterns:
            return any(fnmatch.fnmatchcase(origin, pattern) for pattern in self.patterns)
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"}:
            return False
        return is_local_host(parts.netloc) or (host is not None and parts.netloc == host.lower())


def is_local_host(netloc: str) -> bool:
    """Whether ``host[:port]`` names this machine's loopback."""
    name = urlsplit(f"//{netloc}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
