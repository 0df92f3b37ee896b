"""Settings of the identity service: its name, its keys, what it mints (spec "Environment variables")."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from memql.config.groups.declaration import Group, setting
from memql.config.value_types import BaseUrl, ClientsText, Flag, Networks, RoleSecretsText, SeedText, TextList

__all__ = ["IssuerSettings", "RegistrationMode"]

RegistrationMode = Literal["open", "domain_restricted", "invite_only", "waitlist"]


class IssuerSettings(Group):
    """Issuing tokens."""

    # --- its name ---
    identity_base_url: BaseUrl = setting(
        "IDENTITY_BASE_URL",
        default="",
        doc="absolute base URL of the identity service, the issuer of its tokens; required where it runs",
    )
    identity_jwt_audience: str = setting(
        "IDENTITY_JWT_AUDIENCE", default="memql", doc="audience of the tokens that are minted", min_length=1
    )
    identity_jwks_url: BaseUrl = setting(
        "IDENTITY_JWKS_URL",
        default="",
        doc="where clients are told to find the public keys; /.well-known/jwks.json below the base URL unless set",
    )

    # --- its keys ---
    identity_key_dir: Path = setting(
        "IDENTITY_KEY_DIR", default=Path("var/identity/keys"), doc="directory of the signing keys"
    )
    identity_key_encryption_key: str = setting(
        "IDENTITY_KEY_ENCRYPTION_KEY",
        default="",
        doc="secret, at least 16 characters, that the stored signing keys are encrypted with",
        secret=True,
        pattern=r"^(.{16,})?$",
    )
    identity_signing_key: SeedText = setting(
        "IDENTITY_SIGNING_KEY_B64",
        default="",
        doc="seed of the signing key, 32 bytes as base64, instead of keys on disk; the same on every replica",
        secret=True,
    )
    identity_signing_key_next: SeedText = setting(
        "IDENTITY_SIGNING_KEY_NEXT_B64",
        default="",
        doc="seed of the key that will sign next; published, so that verifiers know it in time",
        secret=True,
    )
    identity_signing_key_previous: SeedText = setting(
        "IDENTITY_SIGNING_KEY_PREVIOUS_B64",
        default="",
        doc="seed of the key that signed before; its tokens still count",
        secret=True,
    )
    identity_signing_key_created_at: datetime | None = setting(
        "IDENTITY_SIGNING_KEY_CREATED_AT", default=None, doc="when the signing key was made, RFC 3339"
    )
    identity_allow_ephemeral_key: Flag = setting(
        "IDENTITY_ALLOW_EPHEMERAL_KEY",
        default=False,
        doc="whether a service that is not on this machine may keep its keys on its own disk",
    )
    identity_key_rotation_days: float = setting(
        "IDENTITY_KEY_ROTATION_DAYS", default=90.0, doc="days after which a key on disk is replaced", gt=0
    )
    identity_jwks_overlap_hours: float = setting(
        "IDENTITY_JWKS_OVERLAP_HOURS",
        default=24.0,
        doc="hours a replaced key is still published; longer while tokens that it signed are unexpired",
        gt=0,
    )

    # --- what it mints ---
    identity_access_token_ttl: int = setting(
        "IDENTITY_ACCESS_TOKEN_TTL_SECONDS",
        default=900,
        doc="seconds an access token of a user counts",
        ge=60,
        le=86_400,
    )
    identity_node_bootstrap_tokens: RoleSecretsText = setting(
        "IDENTITY_NODE_BOOTSTRAP_TOKENS",
        default="",
        doc='secrets by role, JSON {"agent": "..."}, 32 characters or more each, that nodes get credentials for',
        secret=True,
    )
    identity_allow_insecure_bootstrap: Flag = setting(
        "MEMQL_IDENTITY_ALLOW_INSECURE_BOOTSTRAP",
        default=False,
        doc="whether nodes of this machine may ask for their credential without TLS",
    )

    # --- who may register, and from where ---
    identity_registration_mode: RegistrationMode = setting(
        "IDENTITY_REGISTRATION_MODE",
        default="open",
        doc="who may register: open, domain_restricted, invite_only or waitlist",
    )
    identity_registration_domains: TextList = setting(
        "IDENTITY_REGISTRATION_DOMAINS", default="", doc="e-mail domains that may register"
    )
    identity_internal_domains: TextList = setting(
        "IDENTITY_INTERNAL_DOMAINS", default="", doc="e-mail domains of the operator's own people"
    )
    identity_internal_default_role: Literal["admin", "writer", "reader"] = setting(
        "IDENTITY_INTERNAL_DEFAULT_ROLE", default="writer", doc="role of a new user of an internal domain"
    )
    identity_risk_threshold: int = setting(
        "IDENTITY_RISK_THRESHOLD", default=50, doc="score from which a registration is held back", ge=0, le=100
    )
    identity_registered_clients: ClientsText = setting(
        "IDENTITY_REGISTERED_CLIENTS",
        default="",
        doc='applications that may sign people in, JSON [{"clientId": "...", "redirectURIs": ["..."]}]',
    )
    identity_cors_allowed_origins: TextList = setting(
        "IDENTITY_CORS_ALLOWED_ORIGINS",
        default="",
        doc="exact origins whose pages may call the identity service with credentials",
    )
    identity_trusted_proxies: Networks = setting(
        "IDENTITY_TRUSTED_PROXY_CIDRS",
        default="",
        doc="networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed",
    )

    @property
    def issuer_jwks_url(self) -> str:
        """Where the public keys of this issuer are found."""
        return self.identity_jwks_url or f"{self.identity_base_url}/.well-known/jwks.json"
