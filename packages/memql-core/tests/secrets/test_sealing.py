from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.errors import Code, MemqlError
from memql.secrets import MasterKey, fingerprint, load_master_key, open_blob, open_value, seal_blob, seal_value

KEY = MasterKey(bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389"))
NONCE = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
MESSAGE = bytes.fromhex(
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f4"
    "1db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52"
    "f0a089bc76897040e082f937763848645e0705"
)
SEALED = bytes.fromhex(
    "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b"
    "4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da"
    "99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
)
"""The published secretbox test vector of NaCl (key, nonce, message and box)."""


def test_a_blob_is_header_nonce_and_the_published_secretbox() -> None:
    blob = seal_blob(KEY, MESSAGE, nonce=NONCE)
    assert blob == b"ZNAS\x01\x01\x00\x00" + NONCE + SEALED
    assert open_blob(KEY, blob) == MESSAGE


def test_a_value_is_base64_of_nonce_and_box() -> None:
    sealed = seal_value(KEY, "  hunter2\n", nonce=NONCE)
    assert b64decode(sealed)[:24] == NONCE
    assert len(b64decode(sealed)) == 24 + 16 + len("hunter2")
    assert open_value(KEY, sealed) == "hunter2"


@given(st.text(min_size=1).filter(lambda text: text.strip()), st.binary(min_size=32, max_size=32))
def test_every_value_comes_back_without_the_space_around_it(text: str, raw: bytes) -> None:
    key = MasterKey(raw)
    assert open_value(key, seal_value(key, text)) == text.strip()


@given(st.binary(max_size=200))
def test_every_blob_comes_back(content: bytes) -> None:
    assert open_blob(KEY, seal_blob(KEY, content)) == content


@given(st.data())
def test_a_blob_with_any_bit_changed_does_not_open(data: st.DataObject) -> None:
    blob = bytearray(seal_blob(KEY, b"content", nonce=NONCE))
    position = data.draw(st.integers(0, len(blob) - 1))
    blob[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MemqlError):
        open_blob(KEY, bytes(blob))


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"ZNAS", "short"),
        (b"ZNAX" + bytes(60), "magic"),
        (b"ZNAS\x02\x01" + bytes(60), "version"),
        (b"ZNAS\x01\x02" + bytes(60), "algorithm"),
        (b"ZNAS\x01\x01\x00\x07" + bytes(60), "reserved"),
        (b"ZNAS\x01\x01\x00\x00" + bytes(60), "authentication"),
    ],
)
def test_each_fault_of_a_blob_has_its_own_reason(blob: bytes, reason: str) -> None:
    with pytest.raises(MemqlError) as raised:
        open_blob(KEY, blob)
    assert raised.value.details["reason"] == reason


def test_a_missing_key_is_told_apart_from_a_wrong_one() -> None:
    with pytest.raises(MemqlError) as raised:
        open_blob(None, seal_blob(KEY, b"x"))
    assert raised.value.details["reason"] == "key_missing"


def test_a_value_sealed_under_another_key_does_not_open() -> None:
    with pytest.raises(MemqlError) as raised:
        open_value(MasterKey(bytes(32)), seal_value(KEY, "hunter2"))
    assert raised.value.code is Code.FAILED_PRECONDITION


@pytest.mark.parametrize("sealed", ["", "%%%", "QUJD", b64encode(bytes(40)).decode()])
def test_what_is_no_sealed_value_is_refused(sealed: str) -> None:
    with pytest.raises(MemqlError) as raised:
        open_value(KEY, sealed)
    assert raised.value.code is Code.VALIDATION_FAILED


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(MemqlError, match="must not be empty"):
        seal_value(KEY, " \t")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("", "****"), ("12345678", "****"), ("123456789", "...6789"), (" 123456789 ", "...6789")],
)
def test_a_fingerprint_shows_four_characters_of_long_values_only(value: str, shown: str) -> None:
    assert fingerprint(value) == shown


@pytest.mark.parametrize("text", ["", "  ", "ab", "g" * 64, "a" * 63, "a" * 66])
def test_a_missing_or_malformed_master_key_is_an_error_that_does_not_repeat_it(text: str) -> None:
    with pytest.raises(MemqlError) as raised:
        load_master_key({"MEMQL_MASTER_KEY": text})
    assert raised.value.code is Code.CONFIG_INVALID
    assert not text.strip() or text not in raised.value.message


def test_a_key_does_not_show_in_its_representation() -> None:
    key = MasterKey.generate()
    assert key.to_hex() not in repr(key)
    assert MasterKey.from_hex(key.to_hex()).raw == key.raw
