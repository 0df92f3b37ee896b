"""Who reads which rows: ``@rowAuthz``, classes, secrets, default filters."""

from __future__ import annotations

import pytest

from memql.auth import Actor, local_owner
from memql.errors import Code, MemqlError

from .conftest import BOSS, SYSTEM, U1, U2, Lab, user

pytestmark = pytest.mark.anyio

TEAM, MEMBERSHIP, SAMPLE = "v1:lab:team", "v1:lab:membership", "v1:lab:sample"


async def test_an_owner_rule_applies_to_raw_reads_and_named_ones(ops: Lab) -> None:
    assert await ops.shorts("concept==v1:ops:customer", U1) == ["acme"]
    assert await ops.shorts("concept==v1:ops:customer", BOSS) == []
    assert await ops.shorts("concept==v1:ops:customer", SYSTEM) == ["bolt", "acme"]
    assert await ops.shorts("concept==v1:ops:customer", local_owner()) == ["bolt", "acme"]
    assert await ops.data("queryMyCustomers({})", U1) == [{"customerId": "v1:ops:customer:acme", "name": "Acme"}]
    assert await ops.data("queryMyCustomers({})", BOSS) == []
    assert await ops.data("count(concept==v1:ops:customer)", U2) == [1]


async def test_two_callers_share_a_plan_but_no_rows(ops: Lab) -> None:
    query = ops.catalog.queries["queryMyCustomers"]
    for actor, name in ((U1, "Acme"), (U2, "Bolt"), (U1, "Acme")):
        rows = (await ops.reader.query(query, {}, ops.context(actor))).decoded_data()
        assert [row["name"] for row in rows] == [name]
    assert len(ops.reader._named) == 1


async def test_a_caller_who_is_no_user_owns_nothing(ops: Lab) -> None:
    nobody = Actor(role="writer", principal="service:x")
    await ops.put("v1:ops:customer", "free", {"name": "Free", "ownerUserId": ""})
    assert await ops.shorts("concept==v1:ops:customer", nobody) == []
    assert await ops.data("queryMyCustomers({})", nobody) == []
    assert len(await ops.shorts("concept==v1:ops:customer;payload.ownerUserId != actor.userId", SYSTEM)) == 3


async def test_a_rule_via_a_spec_reaches_through_relationships(lab: Lab) -> None:
    await lab.put(TEAM, "red", {"name": "Red"})
    await lab.put(TEAM, "blue", {"name": "Blue"})
    await lab.put(MEMBERSHIP, "m1", {"teamId": f"{TEAM}:red", "userId": U1.user_id})
    await lab.put(MEMBERSHIP, "m2", {"teamId": f"{TEAM}:blue", "userId": U2.user_id})
    assert await lab.shorts(f"concept=={TEAM}", U1) == ["red"]
    assert await lab.shorts(f"concept=={TEAM}", U2) == ["blue"]
    assert await lab.shorts(f"concept=={TEAM}", BOSS) == []
    assert await lab.shorts(f"concept=={TEAM}", SYSTEM) == ["blue", "red"]
    assert await lab.shorts(f"concept in ({TEAM}, {MEMBERSHIP})", U1) == ["m1", "red"]


async def test_a_cluster_owner_rule_admits_nobody_else(lab: Lab) -> None:
    await lab.put("v1:lab:vault", "v", {"name": "gold"})
    assert await lab.shorts("concept==v1:lab:vault", BOSS) == []
    assert await lab.shorts("concept==v1:lab:vault", local_owner()) == ["v"]
    assert await lab.shorts("concept in (v1:lab:vault, v1:lab:sample)", BOSS) == []


async def test_secret_fields_are_masked_below_admin_in_every_form(lab: Lab) -> None:
    await lab.put(SAMPLE, "s1", {"label": "x", "code": "hunter2"})
    await lab.put(SAMPLE, "s2", {"label": "y"})
    for actor, code in ((U1, "***"), (BOSS, "hunter2"), (SYSTEM, "hunter2")):
        one = f'concept=={SAMPLE};id=="s1"'
        assert (await lab.read(one, actor)).decoded_nodes()[0]["payload"] == {"label": "x", "code": code}
        assert (await lab.data(f'shape({one}, "sampleCard")', actor))[0]["code"] == code
        assert await lab.data(f'shape({one}, node("payload.code"))', actor) == [code]
        selected = (await lab.read(f'select({one}, "payload.code")', actor)).decoded_nodes()
        assert selected[0]["payload"] == {"code": code}
    assert (await lab.data(f'shape(concept=={SAMPLE};id=="s2", "sampleCard")', U1)) == [
        {"id": f"{SAMPLE}:s2", "label": "y"}
    ]


async def test_a_list_with_secrets_in_its_elements_is_hidden_whole(lab: Lab) -> None:
    await lab.put("v1:lab:keyring", "k", {"keys": [{"door": "front", "pin": "1234"}], "owner": "ada"})
    for actor, keys in ((U1, "***"), (BOSS, [{"door": "front", "pin": "1234"}])):
        (node,) = (await lab.read("concept==v1:lab:keyring", actor)).decoded_nodes()
        assert node["payload"] == {"keys": keys, "owner": "ada"}
    assert await lab.data('shape(concept==v1:lab:keyring, node("payload.keys.0.pin"))', U1) == [None]


async def test_secret_fields_are_no_oracle_below_admin(lab: Lab) -> None:
    await lab.put(SAMPLE, "s1", {"code": "hunter2"})
    for text in (f'concept=={SAMPLE};payload.code startsWith "h"', f'sort(concept=={SAMPLE},"payload.code")'):
        with pytest.raises(MemqlError) as caught:
            await lab.read(text, U1)
        assert caught.value.code is Code.FORBIDDEN
        assert await lab.shorts(text, BOSS) == ["s1"]


async def test_secret_stores_are_read_from_their_own_tables(lab: Lab) -> None:
    concept = "v1:platform:globalSecret"
    await lab.put(concept, "k", {"name": "K", "encryptedValue": "zzz", "active": True})
    assert await lab.shorts(f"concept=={concept}", local_owner()) == ["k"]
    assert await lab.shorts(f"history(concept=={concept})", SYSTEM) == ["k"]


async def test_a_default_filter_applies_to_raw_reads(lab: Lab) -> None:
    await lab.put("v1:lab:notice", "n1", {"text": "hi"})
    await lab.put("v1:lab:notice", "n2", {"text": "no", "hidden": True})
    assert await lab.shorts("concept==v1:lab:notice", user("any", "admin")) == ["n1"]
