"""Row rules and filters that need the graph, asked of the real reader."""

from __future__ import annotations

from typing import Any

import pytest

from memql.auth import Actor
from memql.engine.read import GraphReader
from memql.engine.write import BulkWriter, GraphWriter, ImportRow
from memql.errors import Code, MemqlError
from memql.graph.database import Connection, Database
from memql.lang.catalog import Catalog

from .conftest import SYSTEM, U1, U2, World, open_world, tree

pytestmark = pytest.mark.anyio

TEAMS = """
concept team {
  name string!
  memberIds []string
}

@rowAuthz(via="specTeamOfMine")
concept task {
  teamId string!
  title string!
  @relationship(type="parent", field="teamId", target=team)
}

spec specTeamOfMine { childOf(concept == v1:ops:team; payload.memberIds has actor.userId) }

concept memo {
  teamId string!
  text string!
  @relationship(type="parent", field="teamId", target=team)
}

@enabled
mutation task mutationAddTask {
  args { teamId string!  title string!  id string }
  insert { args.id  args.teamId  args.title }
}

@enabled
mutation task mutationRenameTask {
  args { taskId string!  title string! }
  filter specTeamOfMine
  update { id: args.taskId  args.title }
}

@enabled @role("writer")
mutation memo mutationAddMemo {
  args { teamId string!  text string! }
  insert { id: "m1"  args.teamId  args.text }
}

@enabled
mutation memo mutationEditMemo {
  args { text string!  onlyIn string }
  filter childOf(concept == v1:ops:team; payload.memberIds has actor.userId); ?.payload.teamId == args.onlyIn
  update { id: "m1"  args.text }
}
"""


@pytest.fixture(scope="session")
def teams_catalog() -> Catalog:
    return tree({"ops/teams.memql": TEAMS})


@pytest.fixture
async def teams(database: Database, teams_catalog: Catalog) -> World:
    world = await open_world(database, teams_catalog)
    reader = GraphReader(database, lambda: teams_catalog, signing_key=b"k" * 32)
    world.writer = GraphWriter(database, lambda: teams_catalog, world.events.append, reader=lambda: reader)
    await world.raw(f'insert("v1:ops:team", id="red", payload={{name:"Red", memberIds:["{U1.user_id}"]}})')
    await world.raw(f'insert("v1:ops:team", id="blue", payload={{name:"Blue", memberIds:["{U2.user_id}"]}})')
    world.events.clear()
    return world


async def refused(world: World, name: str, args: dict[str, Any], code: Code, actor: Actor = U1) -> None:
    with pytest.raises(MemqlError) as caught:
        await world.call(name, args, actor)
    assert caught.value.code is code, str(caught.value)


async def test_a_row_can_be_added_only_where_the_rule_shows_it(teams: World) -> None:
    node = await teams.call("mutationAddTask", {"teamId": "red", "title": "Paint"})
    assert node["payload"]["teamId"] == "v1:ops:team:red"
    assert [event.topic for event in teams.events] == ["graph.node.created.v1:ops:task"]
    await refused(teams, "mutationAddTask", {"teamId": "blue", "title": "Paint"}, Code.FORBIDDEN)
    assert len(await teams.database.fetch("SELECT FROM memory_heads WHERE concept = 'v1:ops:task'")) == 1
    assert len(teams.events) == 1


async def test_a_row_of_another_team_cannot_be_changed_or_written_over(teams: World) -> None:
    node = await teams.call("mutationAddTask", {"teamId": "red", "title": "Paint", "id": "t1"})
    renamed = await teams.call("mutationRenameTask", {"taskId": node["id"], "title": "Paint again"})
    assert renamed["payload"]["title"] == "Paint again"
    await refused(teams, "mutationRenameTask", {"taskId": "t1", "title": "x"}, Code.NOT_FOUND, U2)
    await refused(teams, "mutationAddTask", {"teamId": "blue", "title": "Mine", "id": "t1"}, Code.NOT_FOUND, U2)
    await teams.call("mutationAddTask", {"teamId": "blue", "title": "Moved", "id": "t1"}, SYSTEM)


async def test_a_row_cannot_be_moved_out_of_sight(teams: World) -> None:
    await teams.call("mutationAddTask", {"teamId": "red", "title": "Paint", "id": "t1"})
    with pytest.raises(MemqlError):
        await teams.raw('update("v1:ops:task", id="t1", payload={teamId:"blue"})', U1)
    assert len(await teams.versions("v1:ops:task:t1")) == 1


async def test_a_deleted_row_can_be_revived_by_those_the_rule_shows_the_new_one(teams: World) -> None:
    await teams.call("mutationAddTask", {"teamId": "red", "title": "Paint", "id": "t1"})
    await teams.raw('delete("v1:ops:task", id="t1")', U1)
    await refused(teams, "mutationAddTask", {"teamId": "red", "title": "x", "id": "t1"}, Code.FORBIDDEN, U2)
    await teams.call("mutationAddTask", {"teamId": "red", "title": "Again", "id": "t1"})


async def test_a_mutation_filter_may_follow_relationships(teams: World) -> None:
    await teams.call("mutationAddMemo", {"teamId": "red", "text": "first"})
    node = await teams.call("mutationEditMemo", {"text": "second"})
    assert node["payload"]["text"] == "second"
    await teams.call("mutationEditMemo", {"text": "third", "onlyIn": "red"})
    await refused(teams, "mutationEditMemo", {"text": "no", "onlyIn": "blue"}, Code.NOT_FOUND)
    await refused(teams, "mutationEditMemo", {"text": "no"}, Code.NOT_FOUND, U2)


async def test_the_rule_sees_the_transaction_of_the_caller(teams: World) -> None:
    async def work(connection: Connection) -> None:
        options: dict[str, Any] = {"connection": connection, "deferred": []}
        await teams.raw(
            f'insert("v1:ops:team", id="green", payload={{name:"G", memberIds:["{U1.user_id}"]}})', **options
        )
        await teams.call("mutationAddTask", {"teamId": "green", "title": "x", "id": "t9"}, **options)
        await teams.call("mutationRenameTask", {"taskId": "t9", "title": "y"}, **options)

    await teams.database.transaction(work)
    assert [version["title"] for version in await teams.versions("v1:ops:task:t9")] == ["x", "y"]


async def test_imports_mind_the_rule_row_by_row(teams: World) -> None:
    writer = BulkWriter(teams.writer, teams.database, "v1:ops:task", teams.context(U1))
    rows = [ImportRow(1, {"teamId": "red", "title": "a"}), ImportRow(2, {"teamId": "blue", "title": "b"})]
    outcome = await writer.write(rows)
    assert [row.line for row in outcome.stored] == [1]
    assert [(row.line, row.error.code) for row in outcome.refused] == [(2, Code.FORBIDDEN)]
