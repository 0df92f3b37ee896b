from __future__ import annotations

from pathlib import Path

from memql.config.reference import reference

PAGE = Path(__file__).parents[4] / "docs" / "settings.md"


def test_the_committed_page_of_settings_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: make docs"
