"""What keeps an identity service from starting (spec "Signing keys and JWKS", start guards)."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from memql.config import Settings
from memql.errors import Code, MemqlError

__all__ = ["check_issuer", "is_local_url"]


def check_issuer(settings: Settings) -> None:
    """Judge the settings of an issuer as a whole; each by itself was judged when it was read.

    :raises MemqlError: ``CONFIG_INVALID`` saying what must change.
    """
    if not settings.identity_signing_key and not is_local_url(settings.identity_base_url):
        _check_keys_on_disk(settings)
    if settings.identity_registration_mode == "domain_restricted" and not settings.identity_registration_domains:
        raise _refused("IDENTITY_REGISTRATION_MODE=domain_restricted needs IDENTITY_REGISTRATION_DOMAINS")
    if settings.node_bootstrap_token and settings.explicit_development and len(settings.node_bootstrap_token) < 32:
        raise _refused("MEMQL_NODE_BOOTSTRAP_TOKEN must have 32 characters or more")


def _check_keys_on_disk(settings: Settings) -> None:
    if not settings.identity_allow_ephemeral_key:
        raise _refused(
            f"the identity service at {settings.identity_base_url} needs IDENTITY_SIGNING_KEY_B64, which all its "
            "replicas share and which outlives its disk; IDENTITY_ALLOW_EPHEMERAL_KEY=true keeps keys on disk instead"
        )
    if not settings.identity_key_encryption_key:
        raise _refused("IDENTITY_ALLOW_EPHEMERAL_KEY=true needs IDENTITY_KEY_ENCRYPTION_KEY")


def is_local_url(url: str) -> bool:
    """Whether a URL names this machine: a loopback host, ``*.localhost``, or a host whose second label is ``local``."""
    host = (urlsplit(url).hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        return len(labels) > 1 and labels[1] == "local"
    return address.is_loopback or address.is_unspecified


def _refused(reason: str) -> MemqlError:
    return MemqlError(Code.CONFIG_INVALID, reason)
