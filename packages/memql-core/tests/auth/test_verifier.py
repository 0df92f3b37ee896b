"""What a token must be to pass; everything else is refused with one text, for a cause that is logged and counted."""

from __future__ import annotations

import hmac
import json
import logging
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from issuer_system import ISSUER, Keys, Signer

from memql.auth.claims import TokenClass
from memql.auth.keys import PublicKey, base64url
from memql.auth.refusals import REFUSED_TEXT, Cause, RefusedError
from memql.auth.verifier import TokenVerifier
from memql.errors import Code, MemqlError

pytestmark = pytest.mark.anyio
SIGNER = Signer()


def verifier(*keys: PublicKey) -> TokenVerifier:
    return TokenVerifier(Keys(*(keys or (SIGNER.public,))), issuer=ISSUER)


async def refusal(token: str, by: TokenVerifier | None = None) -> Cause:
    with pytest.raises(RefusedError) as refused:
        await (by or verifier()).verify(token)
    assert (refused.value.code, refused.value.message) == (Code.UNAUTHENTICATED, REFUSED_TEXT)
    assert refused.value.to_json().keys() == {"code", "message"}
    return refused.value.cause


async def test_a_sound_token_gives_its_claims() -> None:
    claims = await verifier().verify(
        SIGNER.token(email="ada@example.com", given_name="Ada", role="writer", revocation_epoch=3, internal=True)
    )
    assert (claims.token_class, claims.subject) == (TokenClass.USER, "v1:identity:user:ada")
    assert (claims.email, claims.given_name, claims.role, claims.epoch) == ("ada@example.com", "Ada", "writer", 3)
    assert claims.internal
    assert claims.expires_at > claims.issued_at
    assert claims.raw["iss"] == ISSUER


async def test_the_class_of_a_machine_is_read_with_its_claims() -> None:
    claims = await verifier().verify(_claims(**NODE, sub="c1", node_id="bff-0", node_type="bff")())
    assert claims.token_class is TokenClass.NODE
    assert (claims.node_id, claims.node_type, claims.credential_id) == ("bff-0", "bff", "c1")


def _with_header(**header: Any) -> Callable[[], str]:
    return lambda: SIGNER.token(headers=header)


def _claims(**claims: Any) -> Callable[[], str]:
    return lambda: SIGNER.token(**claims)


def _unsigned() -> str:
    _, body, _ = SIGNER.token().split(".")
    return f"{base64url(json.dumps({'alg': 'none', 'kid': SIGNER.public.kid}).encode())}.{body}."


def _hmac_with_the_public_key() -> str:
    """The confusion of algorithms: the public key taken for a shared secret."""
    header = base64url(json.dumps({"alg": "HS256", "kid": SIGNER.public.kid}).encode())
    body = SIGNER.token().split(".")[1]
    signature = hmac.new(SIGNER.public.raw, f"{header}.{body}".encode(), sha256).digest()
    return f"{header}.{body}.{base64url(signature)}"


def _by_ed448() -> str:
    claims = jwt.decode(SIGNER.token(), options={"verify_signature": False})
    return jwt.encode(claims, Ed448PrivateKey.generate(), algorithm="EdDSA", headers={"kid": SIGNER.public.kid})


def _tampered() -> str:
    head, body, signature = SIGNER.token().split(".")
    claims = json.loads(jwt.utils.base64url_decode(body))
    changed = urlsafe_b64encode(json.dumps({**claims, "role": "owner"}).encode()).rstrip(b"=").decode()
    return f"{head}.{changed}.{signature}"


def _in(seconds: int) -> int:
    return int(time.time()) + seconds


NODE: dict[str, Any] = {"class": "node", "sid": None, "cid": "c1"}


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: "", Cause.MALFORMED),
        (lambda: "junk", Cause.MALFORMED),
        (lambda: "a.b.c", Cause.MALFORMED),
        (lambda: "x" * 8193, Cause.OVERSIZE),
        (lambda: SIGNER.token(padding="x" * 8192), Cause.OVERSIZE),
        (lambda: "é" * 5000, Cause.OVERSIZE),
        (_unsigned, Cause.ALGORITHM),
        (_hmac_with_the_public_key, Cause.ALGORITHM),
        (_by_ed448, Cause.SIGNATURE),
        (_tampered, Cause.SIGNATURE),
        (lambda: Signer().token(headers={"kid": SIGNER.public.kid}), Cause.SIGNATURE),
        (lambda: Signer().token(), Cause.UNKNOWN_KEY),
        (_with_header(kid="nobody"), Cause.UNKNOWN_KEY),
        (_with_header(kid=""), Cause.KEY_ID),
        (_with_header(kid="../../etc/passwd"), Cause.KEY_ID),
        (_with_header(crit=["exp"], exp=1), Cause.CRITICAL_HEADER),
        (_claims(iss="https://identity.test/"), Cause.ISSUER),
        (_claims(iss="https://evil.test"), Cause.ISSUER),
        (_claims(iss=None), Cause.ISSUER),
        (_claims(aud="other"), Cause.AUDIENCE),
        (_claims(aud=["other", "another"]), Cause.AUDIENCE),
        (_claims(aud=None), Cause.AUDIENCE),
        (lambda: SIGNER.token(exp=_in(-31)), Cause.EXPIRED),
        (lambda: SIGNER.token(nbf=_in(40)), Cause.NOT_YET_VALID),
        (lambda: SIGNER.token(iat=_in(40)), Cause.NOT_YET_VALID),
        (_claims(exp=None), Cause.MISSING_CLAIM),
        (_claims(nbf=None), Cause.MISSING_CLAIM),
        (_claims(iat=None), Cause.MISSING_CLAIM),
        (_claims(sub=None), Cause.MISSING_CLAIM),
        (_claims(sub=""), Cause.MISSING_CLAIM),
        (_claims(jti=None), Cause.MISSING_CLAIM),
        (_claims(**{"class": "badge"}), Cause.UNKNOWN_CLASS),
        (_claims(**{"class": ["node"]}), Cause.UNKNOWN_CLASS),
        (_claims(sid=None), Cause.CLASS_CLAIM),
        (_claims(**NODE), Cause.CLASS_CLAIM),
        (_claims(**NODE, node_id="bff-0"), Cause.CLASS_CLAIM),
        (_claims(**{**NODE, "cid": None}, node_id="bff-0", node_type="bff"), Cause.CLASS_CLAIM),
        (_claims(exp="soon"), Cause.MALFORMED),
        (_claims(exp=True), Cause.MALFORMED),
        (_claims(exp=1e300), Cause.MALFORMED),
        (_claims(revocation_epoch="1"), Cause.MALFORMED),
        (_claims(role=["owner"]), Cause.MALFORMED),
    ],
)
async def test_what_is_wrong_is_refused_for_its_cause(make: Callable[[], str], cause: Cause) -> None:
    assert await refusal(make()) is cause


async def test_clocks_may_differ_by_half_a_minute() -> None:
    await verifier().verify(SIGNER.token(exp=_in(-20)))
    await verifier().verify(SIGNER.token(nbf=_in(20)))


async def test_an_audience_may_be_one_of_several() -> None:
    assert (await verifier().verify(SIGNER.token(aud=["other", "memql"]))).subject


async def test_keys_that_a_token_brings_along_are_not_looked_at() -> None:
    stranger = Signer()
    token = stranger.token(headers={"jwk": stranger.public.to_jwk(), "jku": "https://evil.test", "x5u": "https://evil"})
    assert await refusal(token) is Cause.UNKNOWN_KEY


async def test_an_earlier_fault_is_the_one_that_counts() -> None:
    both = SIGNER.token(iss="https://evil.test", aud="other", exp=_in(-99), sid=None)
    assert await refusal(both) is Cause.ISSUER
    assert await refusal(SIGNER.token(aud="other", exp=_in(-99), sid=None)) is Cause.AUDIENCE
    assert await refusal(SIGNER.token(exp=_in(-99), sid=None)) is Cause.EXPIRED


async def test_without_any_key_nobody_is_told_that_the_token_is_bad() -> None:
    class Nothing(Keys):
        async def find(self, kid: str) -> PublicKey | None:
            raise MemqlError(Code.UNAVAILABLE, "no keys yet")

    with pytest.raises(MemqlError) as error:
        await TokenVerifier(Nothing(), issuer=ISSUER).verify(SIGNER.token())
    assert error.value.code is Code.UNAVAILABLE


async def test_the_log_names_the_cause_and_never_the_token(caplog: pytest.LogCaptureFixture) -> None:
    token = SIGNER.token(aud="other")
    with caplog.at_level(logging.INFO):
        await refusal(token)
    assert "audience" in caplog.text
    assert token.split(".")[2] not in caplog.text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(min_value=0, max_value=10_000), bit=st.integers(min_value=0, max_value=7))
async def test_no_flipped_bit_passes(at: int, bit: int) -> None:
    token = bytearray(TOKEN.encode())
    token[at % len(token)] ^= 1 << bit
    changed = token.decode("latin-1")
    if changed == TOKEN or _means_the_same(changed):
        return
    with pytest.raises(RefusedError):
        await verifier().verify(changed)


TOKEN = SIGNER.token(life=100_000)


def _means_the_same(changed: str) -> bool:
    """Whether only unused bits at the end of a base64 segment differ."""
    try:
        return [jwt.utils.base64url_decode(part) for part in changed.split(".")] == [
            jwt.utils.base64url_decode(part) for part in TOKEN.split(".")
        ]
    except ValueError:
        return False
