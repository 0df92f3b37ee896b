from __future__ import annotations

import re
from pathlib import Path

import memql.lang.checker
from memql.lang.codes import CODES
from memql.lang.reference import reference

ROOT = Path(__file__).parents[4]


def test_the_committed_page_is_current() -> None:
    page = ROOT / "docs" / "language-reference.md"
    assert page.read_text(encoding="utf-8") == reference(), (
        "run: python -m memql.lang.reference > docs/language-reference.md"
    )


def test_every_code_that_the_checker_gives_is_in_the_table() -> None:
    sources = Path(memql.lang.checker.__file__).parent.glob("*.py")
    given = re.compile(r'(?:report\.(?:error|warn)|env\.error)\(\s*"([a-z-]+)"')
    found = {code for path in sources for code in given.findall(path.read_text(encoding="utf-8"))}
    assert found
    assert found <= set(CODES)
