from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BROKEN = "concept job {\n  title strin!\n}\n"
UNTIDY = "concept   job { title string!   done bool }\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "shop").mkdir(parents=True)
    return root


def test_a_sound_tree_passes(memql: Any, ops_tree: str) -> None:
    outcome = memql("check", ops_tree)
    assert (outcome.code, outcome.out) == (0, "")
    assert "0 errors" in outcome.err


def test_a_problem_is_shown_with_its_place_and_carets(memql: Any, tree: Path) -> None:
    (tree / "shop" / "concepts.memql").write_text(BROKEN)
    outcome = memql("check", str(tree))
    assert outcome.code == 1
    assert "error unknown-type shop/concepts.memql:2:9" in outcome.out
    assert "^^^^^" in outcome.out
    assert "1 error" in outcome.err


def test_findings_come_as_json_for_machines(memql: Any, tree: Path) -> None:
    (tree / "shop" / "concepts.memql").write_text(BROKEN)
    outcome = memql("check", str(tree), "--json")
    (finding,) = json.loads(outcome.out)
    assert (finding["code"], finding["line"], finding["column"]) == ("unknown-type", 2, 9)
    assert outcome.code == 1


def test_a_tree_that_is_none_is_told(memql: Any, tmp_path: Path) -> None:
    outcome = memql("check", str(tmp_path / "nothing"))
    assert outcome.code == 1
    assert "error CONFIG_INVALID" in outcome.err


def test_formatting_changes_files_once(memql: Any, tree: Path) -> None:
    file = tree / "shop" / "concepts.memql"
    file.write_text(UNTIDY)
    assert memql("fmt", "--check", str(tree)).code == 1
    assert file.read_text() == UNTIDY
    outcome = memql("fmt", str(tree))
    assert (outcome.code, outcome.out.strip()) == (0, str(file))
    assert file.read_text() != UNTIDY
    assert memql("fmt", "--check", str(file)).code == 0


def test_formatting_reads_standard_input(memql_process: Any) -> None:
    outcome = memql_process("fmt", "-", stdin=UNTIDY)
    assert outcome.code == 0
    assert outcome.out.startswith("concept job {")


def test_a_file_that_does_not_parse_stays_and_the_others_are_formatted(memql: Any, tree: Path) -> None:
    (tree / "shop" / "a.memql").write_text("concept {")
    good = tree / "shop" / "b.memql"
    good.write_text(UNTIDY)
    outcome = memql("fmt", str(tree))
    assert outcome.code == 1
    assert "error SYNTAX_ERROR" in outcome.err
    assert good.read_text() != UNTIDY
    assert (tree / "shop" / "a.memql").read_text() == "concept {"


# --- sdk-gen ------------------------------------------------------------------------------------------------

AWKWARD = """
concept client {
  /// Says "hello" \\ and ends with a quote"
  from string!
  str string
  list []string
  kind enum("a", "b\\"c")!
  nested { deep int }
}
concept row { value float }
@enabled @public query client queryClients {
  args { from string! @description("who is \\"it\\"")  class string  client_ bool }
  filter payload.from == args.from
}
@enabled @public query row queryRowCount { filter payload.value > 1  count }
"""


@pytest.fixture
def sdk(memql: Any, ops_tree: str, tmp_path: Path) -> Path:
    path = tmp_path / "sdk.py"
    assert memql("sdk-gen", ops_tree, "--out", str(path)).code == 0
    return path


def test_the_module_is_clean_and_fully_typed(sdk: Path) -> None:
    _assert_clean(sdk)
    text = sdk.read_text()
    assert "async def query_jobs(" in text
    assert "-> list[JobCard]:" in text
    assert "query_overdue" not in text, "internal constructs cannot be called by clients"


def test_the_module_is_the_same_every_time(memql: Any, ops_tree: str, sdk: Path) -> None:
    assert memql("sdk-gen", ops_tree).out == sdk.read_text()


def test_awkward_names_and_texts_still_give_a_clean_module(memql: Any, tree: Path, tmp_path: Path) -> None:
    (tree / "shop" / "all.memql").write_text(AWKWARD)
    path = tmp_path / "awkward.py"
    outcome = memql("sdk-gen", str(tree), "--namespace", "shop", "--out", str(path))
    assert outcome.code == 0, outcome.err
    _assert_clean(path)
    assert "class ClientRow:" in path.read_text()
    assert "from_: str" in path.read_text()


def test_a_tree_without_constructs_gives_an_empty_module(memql: Any, tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "empty.py"
    assert memql("sdk-gen", str(tree), "--namespace", "shop", "--out", str(path)).code == 0
    _assert_clean(path)


def test_a_broken_tree_gives_no_module(memql: Any, tree: Path) -> None:
    (tree / "shop" / "concepts.memql").write_text(BROKEN)
    outcome = memql("sdk-gen", str(tree))
    assert (outcome.code, outcome.out) == (1, "")
    assert "error TREE_REFUSED" in outcome.err


def _assert_clean(path: Path) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    assert ruff is not None
    for arguments in (["check", "--isolated"], ["format", "--isolated", "--check", "--line-length", "100"]):
        done = subprocess.run([ruff, *arguments, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(path.parent.parent / "mypy-cache"), str(path)]
    done = subprocess.run(mypy, capture_output=True, text=True, cwd=path.parent, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
