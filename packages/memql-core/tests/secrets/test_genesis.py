from __future__ import annotations

import stat
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.errors import Code, MemqlError
from memql.secrets import (
    MasterKey,
    autoload,
    format_env,
    load_envelope,
    open_envelope,
    parse_env,
    read_sealed,
    seal_blob,
    seal_envelope,
    seal_file,
)

KEY = MasterKey(bytes(range(32)))
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def environ(**more: str) -> dict[str, str]:
    return {"MEMQL_GENESIS_AUTOLOAD": "true", "MEMQL_MASTER_KEY": KEY.to_hex(), **more}


def test_the_forms_of_a_line() -> None:
    text = (
        "\ufeff# comment\r\n"
        "A=plain value # trailing\n"
        "export B = spaced\n"
        "C='single $x \\n # kept'\n"
        'D="tab\\t quote\\" dollar\\$ back\\\\ newline\\n end"  # trailing\n'
        "E=\n"
        "\n"
        'F="two\nlines"\n'
        "G=a#b=c"
    )
    assert parse_env(text) == {
        "A": "plain value",
        "B": "spaced",
        "C": "single $x \\n # kept",
        "D": 'tab\t quote" dollar$ back\\ newline\n end',
        "E": "",
        "F": "two\nlines",
        "G": "a#b=c",
    }
    assert list(parse_env(text)) == list("ABCDEFG")


@given(st.dictionaries(NAMES, VALUES))
def test_what_is_formatted_is_read_back_in_order(values: dict[str, str]) -> None:
    assert list(parse_env(format_env(values)).items()) == list(values.items())


@given(st.text())
def test_any_text_is_read_or_refused_with_a_code(text: str) -> None:
    try:
        parse_env(text)
    except MemqlError as error:
        assert error.code is Code.CONFIG_INVALID


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("A=1\nB=2\nA=3", 3, "already set on line 1"),
        ("A=1\nnonsense", 2, "expected NAME=VALUE"),
        ("1A=x", 1, "expected NAME=VALUE"),
        ("A='open\n", 1, "never closed"),
        ('A="x" y', 1, "after the closing quote"),
        ('A="\\q"', 1, "unknown escape"),
    ],
)
def test_a_malformed_line_is_named(text: str, line: int, what: str) -> None:
    with pytest.raises(MemqlError, match=what) as raised:
        parse_env(text)
    assert raised.value.details["line"] == line


def test_the_sealed_text_comes_back_with_its_comments() -> None:
    text = "# shared\nA=1\n"
    assert open_envelope(KEY, seal_envelope(KEY, text)) == text


def test_the_master_key_is_not_sealed_in() -> None:
    with pytest.raises(MemqlError, match="must not lie in it"):
        seal_envelope(KEY, f"MEMQL_MASTER_KEY={KEY.to_hex()}")


def test_a_sealed_file_is_private_and_replaced_only_by_the_key_that_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "genesis.znas"
    seal_file(path, KEY, "A=1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(MemqlError) as raised:
        seal_file(path, MasterKey(bytes(32)), "A=2")
    assert raised.value.details["reason"] == "authentication"
    assert open_envelope(KEY, read_sealed(path)) == "A=1"
    seal_file(path, KEY, "A=3")
    assert open_envelope(KEY, read_sealed(path)) == "A=3"
    assert [entry.name for entry in path.parent.iterdir()] == ["genesis.znas"]


def test_an_envelope_sets_only_absent_names_and_an_empty_value_is_present() -> None:
    blob = seal_envelope(KEY, "A=sealed\nB=sealed\nC=sealed")
    variables = environ(MEMQL_GENESIS_B64=b64encode(blob).decode(), A="pod", B="")
    done = autoload(variables)
    assert (done.source, done.applied, done.kept) == ("genesis:b64", ("C",), ("A", "B"))
    assert (variables["A"], variables["B"], variables["C"]) == ("pod", "", "sealed")


def test_base64_goes_before_a_path_and_a_bad_one_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "genesis.znas"
    seal_file(path, KEY, "A=path")
    loaded = load_envelope(environ(MEMQL_GENESIS_PATH=str(path)))
    assert loaded is not None
    assert (loaded.source, loaded.values) == ("genesis:path", {"A": "path"})
    assert "path'" not in repr(loaded).replace("genesis:path", "")
    with pytest.raises(MemqlError, match="MEMQL_GENESIS_B64 is not base64"):
        load_envelope(environ(MEMQL_GENESIS_PATH=str(path), MEMQL_GENESIS_B64="%%%"))


def test_the_default_path_is_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    seal_file(tmp_path / ".memql" / "genesis.znas", KEY, "A=home")
    variables = environ()
    autoload(variables)
    assert variables["A"] == "home"


def test_nothing_is_opened_unless_autoload_is_on() -> None:
    variables = {"MEMQL_GENESIS_B64": "%%%"}
    assert autoload(variables).source == ""
    with pytest.raises(MemqlError, match="neither true nor false"):
        autoload({"MEMQL_GENESIS_AUTOLOAD": "maybe"})


def test_a_missing_source_key_or_good_decryption_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MemqlError, match="seal an envelope first"):
        autoload(environ(MEMQL_GENESIS_PATH=str(tmp_path / "none")))
    blob = b64encode(seal_envelope(KEY, "A=1")).decode()
    with pytest.raises(MemqlError, match="MEMQL_MASTER_KEY is not set"):
        autoload({"MEMQL_GENESIS_AUTOLOAD": "1", "MEMQL_GENESIS_B64": blob})
    wrong = environ(MEMQL_GENESIS_B64=blob, MEMQL_MASTER_KEY="00" * 32)
    with pytest.raises(MemqlError) as raised:
        autoload(wrong)
    assert raised.value.details["reason"] == "authentication"
    assert "A" not in wrong


def test_sealed_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(MemqlError, match="no UTF-8 text"):
        open_envelope(KEY, seal_blob(KEY, b"\xff\xfe"))
