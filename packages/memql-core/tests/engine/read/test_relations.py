"""Relationship functions: the sets they yield, as reads and as terms, their edges and depth."""

from __future__ import annotations

from typing import Any

import pytest

from memql.errors import Code, MemqlError

from .conftest import SYSTEM, U1, Lab

pytestmark = pytest.mark.anyio

PERSON = "v1:lab:person"
NICK = "v1:lab:nickname"


@pytest.fixture
async def people(lab: Lab) -> Lab:
    """ada leads ben and cy; ben leads dot; ada knows cy and eve, eve equals dot; dot wrote ada."""
    rows: dict[str, dict[str, Any]] = {
        "ada": {"name": "Ada", "friendIds": ["cy", "eve"], "authorId": "dot"},
        "ben": {"name": "Ben", "bossId": "ada"},
        "cy": {"name": "Cy", "bossId": "ada"},
        "dot": {"name": "Dot", "bossId": "ben"},
        "eve": {"name": "Eve", "twinId": "dot"},
    }
    for short, payload in rows.items():
        full = {
            key: [f"{PERSON}:{each}" for each in value]
            if isinstance(value, list)
            else (f"{PERSON}:{value}" if key.endswith("Id") else value)
            for key, value in payload.items()
        }
        await lab.put(PERSON, short, full)
    for short, of in {"n1": "", "n2": "n1", "n3": "n2", "lone": ""}.items():
        await lab.put(NICK, short, {"of": f"{NICK}:{of}"} if of else {})
    return lab


def of(name: str) -> str:
    return f'concept=={PERSON};id=="{name}"'


async def test_parents_and_children_with_edges_from_parent_to_child(people: Lab) -> None:
    assert await people.shorts(f"childOf({of('ada')})") == ["cy", "ben"]
    assert await people.edges(f"childOf({of('ada')})") == {("child", "ada", "ben", 1), ("child", "ada", "cy", 1)}
    assert await people.shorts(f"parentOf({of('dot')})") == ["ben"]
    assert await people.edges(f"parentOf({of('dot')})") == {("child", "ben", "dot", 1)}
    assert await people.shorts(f'childOf({of("ada")});payload.name=="Cy"') == ["cy"]
    assert await people.edges(f'childOf({of("ada")});payload.name=="Cy"') == {("child", "ada", "cy", 1)}


async def test_the_nodes_at_the_other_ends_come_along_once(people: Lab) -> None:
    result = await people.read(f"childOf({of('ada')})")
    assert [node["id"].split(":")[-1] for node in result.decoded_nodes()] == ["cy", "ben", "ada"]
    assert [root.split(":")[-1] for root in result.root_ids] == ["cy", "ben"]
    page = await people.read(f"paginate(childOf({of('ada')}), 1)")
    assert [node["id"].split(":")[-1] for node in page.decoded_nodes()] == ["cy", "ada"]
    assert page.meta.has_more
    rest = await people.shorts(f"paginate(childOf({of('ada')}), 1, $c)", c=page.meta.cursor)
    assert rest == ["ben"]


async def test_symmetric_functions_find_the_other_end_in_both_directions(people: Lab) -> None:
    assert await people.shorts(f"interactsWith({of('ada')})") == ["eve", "cy"]
    assert await people.shorts(f"interactsWith({of('cy')})") == ["ada"]
    assert await people.edges(f"interactsWith({of('cy')})") == {("interactions", "ada", "cy", 1)}
    assert await people.shorts(f"equals({of('eve')})") == ["dot"]
    assert await people.shorts(f"equals({of('dot')})") == ["eve"]
    assert await people.shorts(f"createdBy({of('ada')})") == ["dot"]
    assert await people.edges(f"createdBy({of('ada')})") == {("createdBy", "ada", "dot", 1)}


async def test_alias_groups_are_transitive_and_leave_the_start_out(people: Lab) -> None:
    assert await people.shorts(f'aliasOf(id=="{NICK}:n1")') == ["n3", "n2"]
    assert await people.shorts(f'aliasOf(id=="{NICK}:n3")') == ["n2", "n1"]
    assert await people.shorts(f'aliasOf(id=="{NICK}:lone")') == []
    assert {edge[:3] for edge in await people.edges(f'aliasOf(id=="{NICK}:n1")')} == {
        ("aliases", "n2", "n1"),
        ("aliases", "n3", "n2"),
    }


async def test_functions_are_terms_and_can_be_negated_and_nested(people: Lab) -> None:
    assert await people.shorts(f"concept=={PERSON};!childOf({of('ada')})") == ["eve", "dot", "ada"]
    assert await people.shorts(f"childOf(childOf({of('ada')}))") == ["dot"]
    assert await people.shorts(f"concept=={PERSON};(childOf({of('ben')}) || interactsWith({of('cy')}))") == [
        "dot",
        "ada",
    ]
    ruled = await people.read("ids(concept==v1:identity:user)")
    assert ruled.decoded_nodes() == []
    ids = await people.read(f'ids(concept=={PERSON};payload.name=="Ada")')
    assert [sorted(node) for node in ids.decoded_nodes()] == [["concept", "createdAt", "createdBy", "id", "type"]]


async def test_depth_follows_several_levels(people: Lab) -> None:
    assert await people.shorts(f"withDepth(childOf({of('ada')}), 2)") == ["dot", "cy", "ben"]
    assert await people.edges(f"withDepth(childOf({of('ada')}), 2)") == {
        ("child", "ada", "ben", 1),
        ("child", "ada", "cy", 1),
        ("child", "ben", "dot", 2),
    }
    assert await people.shorts(f"withDepth(parentOf({of('dot')}), 5)") == ["ben", "ada"]


async def test_depth_around_a_plain_read_expands_its_relationships(people: Lab) -> None:
    plain = f"withDepth({of('ben')}, 1)"
    assert await people.shorts(plain) == ["ben"]
    assert await people.edges(plain) == {("child", "ada", "ben", 1), ("child", "ben", "dot", 1)}
    nodes = (await people.read(plain)).decoded_nodes()
    assert {node["id"].split(":")[-1] for node in nodes} == {"ben", "ada", "dot"}
    assert ("equals", "eve", "dot", 2) in await people.edges(f"withDepth({of('ben')}, 2)")
    for depth in (0, 33):
        with pytest.raises(MemqlError) as caught:
            await people.read(f"withDepth({of('ben')}, {depth})")
        assert caught.value.code is Code.INVALID_ARGUMENT


async def test_rings_end(people: Lab) -> None:
    await people.put(PERSON, "ada", {"name": "Ada", "bossId": f"{PERSON}:dot"})
    assert await people.shorts(f"withDepth(childOf({of('ada')}), 9)") == ["dot", "cy", "ben"]


async def test_traversals_see_the_state_that_is_read(people: Lab) -> None:
    before = people.clock.isoformat()
    await people.put(PERSON, "ben", {"name": "Ben"})
    assert await people.shorts(f"childOf({of('ada')})") == ["cy"]
    assert await people.shorts(f"asOf(childOf({of('ada')}), $t)", t=before) == ["cy", "ben"]
    assert await people.edges(f'asOf(childOf({of("ada")}), "{before}")') == {
        ("child", "ada", "ben", 1),
        ("child", "ada", "cy", 1),
    }


async def test_a_function_without_a_declared_relationship_is_refused(ops: Lab) -> None:
    for text in ('owns(id=="v1:ops:job:j1")', "concept==v1:ops:customer;childOf(concept==v1:ops:route)"):
        with pytest.raises(MemqlError) as caught:
            await ops.read(text)
        assert caught.value.code is Code.RELATIONSHIP_NOT_FOUND


async def test_traversals_obey_row_rules_on_the_way(ops: Lab) -> None:
    text = "childOf(concept==v1:ops:customer)"
    assert await ops.shorts(text, SYSTEM) == ["j4", "j3", "j2", "j1"]
    assert await ops.shorts(text, U1) == ["j3", "j2", "j1"]
    assert await ops.shorts('parentOf(id=="v1:ops:job:j4")', U1) == []
    nodes = (await ops.read('withDepth(concept==v1:ops:job;id=="j4", 1)', U1)).decoded_nodes()
    assert [node["id"] for node in nodes] == ["v1:ops:job:j4"]


async def test_what_a_history_or_a_deleted_row_is_related_to_is_live(ops: Lab) -> None:
    await ops.put("v1:ops:customer", "bolt", {"deleted": True}, deleted=True)
    await ops.put("v1:ops:job", "j3", {"customerId": "v1:ops:customer:acme", "title": "Valve, again"})
    children = 'childOf(concept==v1:ops:customer;id in ("acme","bolt"))'
    assert await ops.shorts(f"history({children})") == ["j3", "j3", "j2", "j1"]
    assert await ops.shorts(f"withDeleted({children})") == ["j3", "j2", "j1"]
    names = 'shape(history(concept==v1:ops:customer;id=="acme"), children(node("payload.title")))'
    assert await ops.data(names) == [["Valve, again", "Radiator", "Boiler"]]


async def test_the_intrinsic_creator_can_be_a_relationship(lab: Lab) -> None:
    await lab.put("v1:identity:user", "u1", {"displayName": "Una"})
    await lab.put("v1:lab:notice", "n1", {"text": "x"}, created_by="v1:identity:user:u1")
    await lab.put("v1:lab:notice", "n2", {"text": "y"})
    assert await lab.shorts("createdBy(concept==v1:lab:notice)") == ["u1"]
    assert await lab.edges("createdBy(concept==v1:lab:notice)") == {("createdBy", "n1", "u1", 1)}


async def test_incoming_and_bidirectional_relationships_turn_the_edge_round(lab: Lab) -> None:
    page, book = "v1:lab:page", "v1:lab:book"
    await lab.put(book, "b", {"title": "B"})
    await lab.put(page, "p1", {"bookId": f"{book}:b"})
    await lab.put(page, "p2", {"peerId": f"{page}:p1"})
    assert await lab.shorts(f'contains(id=="{book}:b")') == ["p1"]
    assert await lab.edges(f'contains(id=="{book}:b")') == {("contains", "b", "p1", 1)}
    assert await lab.shorts(f'contains(id=="{page}:p1")') == ["p2"]
    assert await lab.shorts(f'contains(id=="{page}:p2")') == ["p1"]
    await lab.put("v1:lab:shelf", "s", {"shelfBookIds": [f"{book}:b"]})
    assert await lab.shorts(f'owns(id=="{book}:b")') == ["s"]
    assert await lab.edges('owns(id=="v1:lab:shelf:s")') == {("owns", "s", "b", 1)}
