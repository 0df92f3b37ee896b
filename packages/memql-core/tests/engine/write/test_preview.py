"""Telling what a write would do."""

from __future__ import annotations

import pytest

from memql.engine.write import Preview

from .conftest import BOSS, World

pytestmark = pytest.mark.anyio


async def test_validate_lists_what_is_wrong_and_what_is_required(fixture_world: World) -> None:
    preview = Preview(fixture_world.writer, fixture_world.database)
    good = preview.validate("v1:ops:job", {"customerId": "acme", "title": "x"})
    assert (good["valid"], good["errors"]) == (True, [])
    assert good["required"] == ["customerId", "title"]
    bad = preview.validate("v1:ops:job", {"title": 5, "id": "x"})
    assert not bad["valid"]
    assert bad["provided"] == ["title", "id"]
    assert bad["schema"]["$id"] == "v1.ops.job"


async def test_the_content_id_is_the_one_an_insert_gets(fixture_world: World) -> None:
    preview = Preview(fixture_world.writer, fixture_world.database)
    payload = {"day": "2026-03-02"}
    told = preview.content_id("v1:ops:route", payload)
    written = await fixture_world.raw('insert("v1:ops:route", payload={day:"2026-03-02"})')
    assert told == {"valid": True, "id": written.meta.server_id}
    assert preview.content_id("v1:ops:route", {}) == {"valid": False, "id": None}


async def test_a_preview_says_whether_the_row_exists(fixture_world: World) -> None:
    preview, context = Preview(fixture_world.writer, fixture_world.database), fixture_world.context()
    payload = {"day": "2026-03-02"}
    assert (await preview.preview_insert("v1:ops:route", payload, context))["exists"] is False
    written = await fixture_world.raw('insert("v1:ops:route", payload={day:"2026-03-02"})')
    told = await preview.preview_insert("v1:ops:route", payload, context)
    assert (told["exists"], told["id"]) == (True, written.meta.server_id)
    await fixture_world.raw(f'delete("v1:ops:route", id="{written.meta.server_id}")')
    told = await preview.preview_insert("v1:ops:route", payload, context)
    assert told["exists"] is False
    assert "revived" in told["warnings"][0]


async def test_a_preview_minds_the_row_rule(fixture_world: World) -> None:
    preview = Preview(fixture_world.writer, fixture_world.database)
    told = await preview.preview_insert(
        "v1:ops:customer", {"name": "Acme", "ownerUserId": "u1"}, fixture_world.context(BOSS)
    )
    assert told["valid"] is False
    assert "own" in told["warnings"][0]
