"""A reader over a real database, and a tree with every kind of relationship and rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memql.auth import Actor, system
from memql.engine.caching import AnswerCache
from memql.engine.context import RequestContext
from memql.engine.read import GraphReader
from memql.engine.result import Result
from memql.graph.database import Database
from memql.graph.indexes import ensure_indexes
from memql.graph.log import NewVersion, append
from memql.graph.store import Store
from memql.lang.catalog import Catalog
from memql.lang.loader import Sources, load_tree, read_sources
from memql.lang.parser import parse_request

OPS = Path(__file__).parents[2] / "trees" / "ops"
START = datetime(2026, 3, 1, tzinfo=UTC)
KEY = b"a key for the cursors of these tests"

LAB = """
use lab.specs.{ specMyTeam }
use identity.concepts.{ user }

@rowAuthz(public)
concept sample {
  label string @index
  grade enum("a", "b", "c")
  size int @index
  weight float
  seenAt datetime @index
  alive bool
  tags []string @index
  moments []datetime
  counts []int
  place { city string  spot { x int  y int } }
  extra object
  thing any
  labels map(string, string)
  code string @secret
}

@rowAuthz(via="specMyTeam")
concept team {
  name string
  memberIds []string
  leadId string
  @relationship(type="contains", field="memberIds", target=user)
  @relationship(type="owns", field="leadId", target=user)
}

@rowAuthz(owner="userId")
concept membership {
  userId string
  teamId string
  @relationship(type="references", field="userId", target=user)
  @relationship(type="parent", field="teamId", target=team)
}

@rowAuthz(clusterOwner)
concept vault { name string }

@rowAuthz(public)
concept keyring {
  owner string
  keys []object { door string  pin string @secret }
}

@rowAuthz(public)
concept person {
  name string
  bossId string
  friendIds []string
  twinId string
  authorId string
  @relationship(type="parent", field="bossId", target=person)
  @relationship(type="interactsWith", field="friendIds", target=person)
  @relationship(type="equals", field="twinId", target=person)
  @relationship(type="createdBy", field="authorId", target=person)
}

@type("reference") @rowAuthz(public)
concept nickname {
  of string
  @relationship(type="alias", field="of", target=nickname)
}

@rowAuthz(public) @defaultFilter("payload.hidden != true") @cache(ttl=60)
concept notice {
  text string
  hidden bool
  @relationship(type="createdBy", field="createdBy", target=user)
}

@rowAuthz(public)
concept page {
  bookId string
  noteIds []string
  peerId string
  @relationship(type="contains", field="bookId", target=book, direction="incoming")
  @relationship(type="contains", field="peerId", target=page, direction="bidirectional")
}

@rowAuthz(public)
concept book {
  title string
  @relationship(type="owns", field="shelfBookIds", target=shelf, direction="incoming")
}

@rowAuthz(public)
concept shelf { shelfBookIds []string }
"""

LAB_MORE = {
    "lab/specs.memql": """
        spec specMyTeam { parentOf(concept==v1:lab:membership && payload.userId == actor.userId) }
        spec specBig { payload.size >= 10 }
        trait traitAlive { payload.alive == true }
    """,
    "lab/shapes.memql": """
        @row shape sample sampleCard { row.id  payload.label  payload.place.city  payload.code }
        @row @actor shape sample sampleMine { row.createdAt as at  actor.userId as me  actor.role }
    """,
    "lab/queries.memql": """
        @enabled @public query sample querySamples {
          args { grade string  min int  tag string  at datetime  limit int  from string }
          filter ?.payload.grade == args.grade;
                 when(args.min) { payload.size >= args.min };
                 ?.payload.tags has args.tag
          sort "payload.size", "asc"
          paginate args.limit
          asOf args.at
        }
        @enabled @public query sample queryGraded {
          args { grade string }
          filter payload.grade == args.grade
          shape sampleCard
        }
        @enabled @public query sample queryBigGraded {
          args { grade string! }
          filter queryGraded({ grade: args.grade }); specBig
        }
        @enabled @public @cache(ttl=60) query sample queryCounted { filter traitAlive count }
    """,
}


def user(name: str, role: str = "writer", **more: Any) -> Actor:
    return Actor(user_id=f"v1:identity:user:{name}", role=role, **more)


U1, U2, BOSS, SYSTEM = user("u1"), user("u2"), user("boss", "admin"), system("system:test")


@dataclass
class Lab:
    """A reader with its database; rows are written straight into the store, a second apart."""

    database: Database
    catalog: Catalog
    reader: GraphReader
    cache: AnswerCache
    clock: datetime = START
    variables: dict[str, Any] = field(default_factory=dict)

    async def put(
        self,
        concept: str,
        short: str,
        payload: Mapping[str, Any],
        *,
        deleted: bool = False,
        created_by: str = "system:test",
        at: datetime | None = None,
    ) -> None:
        declared = self.catalog.concepts[concept]
        self.clock = at or self.clock + timedelta(seconds=1)
        version = NewVersion(
            id=f"{concept}:{short}",
            concept=concept,
            type=declared.row_type,
            created_by=created_by,
            created_at=self.clock,
            schema={"$id": declared.schema_id},
            payload=payload,
            provenance={"kind": "direct", "name": "raw"},
            metadata={"batch": {"no": 7}},
            deleted=deleted,
        )
        store = Store.SECRET if declared.secret_store else Store.MEMORY
        await append(self.database, version, store=store)

    def context(self, actor: Actor = SYSTEM, **variables: Any) -> RequestContext:
        return RequestContext(actor=actor, now=START, variables=variables)

    def sibling(self, *, max_results: int) -> Lab:
        """The same with a reader that has another largest page."""
        reader = GraphReader(self.database, lambda: self.catalog, signing_key=KEY, max_results=max_results)
        return replace(self, reader=reader)

    async def read(self, text: str, actor: Actor = SYSTEM, *, cursor: str = "", **variables: Any) -> Result:
        request = parse_request(text)
        ctx = self.context(actor, **variables)
        return await self.reader.read(request.operation, dict(request.lets), ctx, cursor=cursor)  # type: ignore[arg-type]

    async def shorts(self, text: str, actor: Actor = SYSTEM, **variables: Any) -> list[str]:
        result = await self.read(text, actor, **variables)
        return [root.rpartition(":")[2] for root in result.root_ids]

    async def data(self, text: str, actor: Actor = SYSTEM, **variables: Any) -> list[Any]:
        return (await self.read(text, actor, **variables)).decoded_data()

    async def edges(self, text: str, actor: Actor = SYSTEM) -> set[tuple[str, str, str, int]]:
        """Type, short ids of both ends, depth."""
        import msgspec

        found = [msgspec.json.decode(edge) for edge in (await self.read(text, actor)).edges]
        return {
            (edge["type"], edge["fromId"].split(":")[-1], edge["toId"].split(":")[-1], edge["depth"]) for edge in found
        }


@pytest.fixture(scope="session")
def lab_catalog() -> Catalog:
    sources = read_sources([OPS]).over(Sources({"lab/concepts.memql": LAB, **LAB_MORE}))
    return load_tree(sources).require()


@pytest.fixture
async def lab(database: Database, lab_catalog: Catalog) -> Lab:
    await ensure_indexes(database, lab_catalog.concepts.values())
    cache = AnswerCache()
    reader = GraphReader(database, lambda: lab_catalog, signing_key=KEY, cache=cache)
    return Lab(database, lab_catalog, reader, cache)


@pytest.fixture
async def ops(lab: Lab) -> Lab:
    """With the rows of the worked examples."""
    customer, job = "v1:ops:customer", "v1:ops:job"
    acme, bolt = f"{customer}:acme", f"{customer}:bolt"
    await lab.put(
        customer,
        "acme",
        {"name": "Acme", "tier": "gold", "ownerUserId": U1.user_id, "prefs": {"sms": True}},
    )
    await lab.put(customer, "bolt", {"name": "Bolt", "tier": "basic", "ownerUserId": U2.user_id})
    rows: list[tuple[str, dict[str, Any]]] = [
        (
            "j1",
            {"customerId": acme, "title": "Boiler", "status": "open", "priority": 1, "dueAt": "2026-03-05T00:00:00Z"},
        ),
        ("j2", {"customerId": acme, "title": "Radiator", "status": "done", "priority": 3}),
        (
            "j3",
            {
                "customerId": acme,
                "title": "Valve",
                "status": "scheduled",
                "priority": 2,
                "dueAt": "2026-03-10T00:00:00Z",
            },
        ),
        ("j4", {"customerId": bolt, "title": "Meter", "status": "open", "priority": 2, "active": False}),
    ]
    for short, payload in rows:
        await lab.put(job, short, {"active": True, **payload})
    await lab.put("v1:ops:route", "r1", {"day": "2026-03-01", "jobIds": [f"{job}:j1", f"{job}:j3"]})
    return lab
