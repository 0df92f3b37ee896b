from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from memql.lang import tables
from memql.lang.tables import compile_tables, load_tables

GRAMMAR = Path(tables.__file__).with_name("grammar.lark")


def test_the_stored_tables_belong_to_the_grammar() -> None:
    assert compile_tables(GRAMMAR.read_text(encoding="utf-8")) == load_tables(), (
        "grammar.json is older than grammar.lark: run `python -m memql.lang.tables`"
    )


def test_a_grammar_with_a_conflict_is_refused() -> None:
    text = GRAMMAR.read_text(encoding="utf-8").replace('if: "if" expr block', 'if: "if" expr block "if"?')
    with pytest.raises(ValueError, match="both shift and reduce"):
        compile_tables(text)


def test_a_process_that_parses_never_loads_the_grammar_tool() -> None:
    code = (
        "import sys; from memql.lang.parser import parse_request; from memql.lang import tables;"
        "assert not tables.load_tables.cache_info().currsize; parse_request('a == 1');"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'lark']"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
