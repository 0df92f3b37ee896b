"""Settings of who may call, and of whose tokens count."""

from __future__ import annotations

from pathlib import Path

from memql.config.groups.declaration import Group, setting
from memql.config.value_types import BaseUrl, Flag

__all__ = ["AccessSettings"]


class AccessSettings(Group):
    """Verification of callers."""

    identity_enabled: Flag = setting("IDENTITY_ENABLED", default=True, doc="whether callers must show a credential")
    allow_no_auth: Flag = setting(
        "MEMQL_ALLOW_NO_AUTH", default=False, doc="whether a node without identity may leave loopback"
    )
    identity_verifier_base_url: BaseUrl = setting(
        "IDENTITY_VERIFIER_BASE_URL", default="", doc="base URL of the identity service whose tokens count"
    )
    identity_verifier_audience: str = setting(
        "IDENTITY_VERIFIER_AUDIENCE", default="memql", doc="audience that a token must name", min_length=1
    )
    identity_verifier_expected_issuer: BaseUrl = setting(
        "IDENTITY_VERIFIER_EXPECTED_ISSUER",
        default="",
        doc="issuer that a token must name; the base URL of the verifier unless set",
    )
    identity_verifier_jwks_url: BaseUrl = setting(
        "IDENTITY_VERIFIER_JWKS_URL",
        default="",
        doc="where the public keys are; /.well-known/jwks.json below the base URL unless set",
    )
    identity_verifier_jwks_refresh: float = setting(
        "IDENTITY_VERIFIER_JWKS_REFRESH_SECONDS", default=300.0, doc="seconds between looks at the public keys", gt=0
    )
    identity_verifier_jwks_timeout: float = setting(
        "IDENTITY_VERIFIER_JWKS_FETCH_TIMEOUT_SECONDS",
        default=10.0,
        doc="seconds one look at the public keys may take",
        gt=0,
    )
    identity_verifier_ca_file: Path | None = setting(
        "IDENTITY_VERIFIER_CA_FILE",
        default=None,
        doc="further certificate authorities (PEM) that the identity service is checked with",
    )
    identity_verifier_revocation_check: float = setting(
        "IDENTITY_VERIFIER_REVOCATION_CHECK_SECONDS",
        default=1.5,
        doc="seconds between looks at the credentials and roles of open streams, at most 4",
        gt=0,
        le=4,
    )
    operator_token: str = setting(
        "MEMQL_OPERATOR_TOKEN",
        default="",
        doc="credential of the Operator scheme, 32 characters or more; off unless set",
        secret=True,
        pattern=r"^(\S{32,})?$",
    )
    operator_break_glass: Flag = setting(
        "MEMQL_OPERATOR_BREAK_GLASS",
        default=False,
        doc="whether the operator credential counts once the cluster has its owner",
    )

    @property
    def expected_issuer(self) -> str:
        """The issuer whose tokens this node takes; empty when it verifies none."""
        return self.identity_verifier_expected_issuer or self.identity_verifier_base_url

    @property
    def jwks_url(self) -> str:
        """Where this node fetches public keys; empty when it verifies none."""
        base = self.identity_verifier_base_url
        return self.identity_verifier_jwks_url or (f"{base}/.well-known/jwks.json" if base else "")
