"""What the tree says about itself, through raw calls."""

from __future__ import annotations

from typing import Any

import pytest
from ops_system import BOSS, U1, Ops

from memql.errors import Code, MemqlError

pytestmark = pytest.mark.anyio


async def ask(ops: Ops, text: str) -> list[dict[str, Any]]:
    nodes = (await ops.run(text, BOSS)).decoded_nodes()
    name = text.partition("(")[0]
    assert {node["concept"] for node in nodes} <= {f"memql:{name}"}
    return [node["payload"] for node in nodes]


async def test_concepts_come_with_metadata_and_schemas_filtered_by_pattern(ops: Ops) -> None:
    (job,) = await ask(ops, 'concepts(["v1:ops:jo*"])')
    assert job["concept"] == "v1:ops:job"
    assert job["metadata"]["version"] == "1.2.0"
    assert job["schemas"]["v1.ops.job"]["required"]
    assert len(await ask(ops, "concepts()")) > 4


async def test_functions_are_those_the_caller_may_call(ops: Ops) -> None:
    (mine,) = (await ops.run("functions()", U1)).decoded_nodes()
    names = {entry["name"] for entry in mine["payload"]["functions"]}
    assert "queryJobs" in names
    assert not {"queryJobById", "mutationDropJob"} & names
    assert mine["payload"]["count"] == len(names)


async def test_help_describes_arguments_as_a_schema(ops: Ops) -> None:
    (help_,) = await ask(ops, 'help("queryJobs")')
    assert (help_["kind"], help_["enabled"]) == ("query", True)
    assert help_["argsSchema"]["required"] == ["customerId"]
    assert help_["argsSchema"]["properties"]["status"]["enum"] == ["open", "scheduled", "done"]


async def test_shapes_and_tools_are_listed(ops: Ops) -> None:
    (shapes,) = await ask(ops, 'shapeTemplates(["v1:ops:job"])')
    assert [entry["name"] for entry in shapes["shapeTemplates"]] == ["jobCard"]
    (card,) = await ask(ops, 'shapeHelp("jobCard")')
    assert card["fields"]["title"] == "payload.title"
    (tools,) = await ask(ops, "tools()")
    assert [entry["name"] for entry in tools["tools"]] == ["jobLookup"]


async def test_a_write_can_be_tried_without_writing(ops: Ops) -> None:
    (verdict,) = await ask(ops, 'validate({concept: "v1:ops:job", payload: {title: "T"}})')
    assert verdict["valid"] is False
    assert verdict["errors"][0]["path"] == "customerId"
    (preview,) = await ask(ops, 'previewInsert({concept: "v1:ops:route", payload: {day: "2026-03-02"}})')
    assert (preview["valid"], preview["exists"]) == (True, False)
    (content,) = await ask(ops, 'contentId({concept: "v1:ops:route", payload: {day: "2026-03-02"}})')
    assert content["id"] == preview["id"]


async def test_the_service_names_its_version_and_its_language(ops: Ops) -> None:
    (version,) = await ask(ops, "serviceVersion()")
    assert version["catalog"] == ops.engine.catalog.version
    (docs,) = await ask(ops, "memqlDocs()")
    assert "# Language reference" in docs["text"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('help("nothing")', Code.NOT_FOUND),
        ('shapeHelp("nothing")', Code.NOT_FOUND),
        ("help()", Code.INVALID_ARGUMENT),
        ("concepts([1])", Code.INVALID_ARGUMENT),
        ('validate("v1:ops:job")', Code.INVALID_ARGUMENT),
    ],
)
async def test_wrong_questions_are_refused_with_their_code(ops: Ops, text: str, code: Code) -> None:
    with pytest.raises(MemqlError) as caught:
        await ops.run(text, BOSS)
    assert caught.value.code is code
