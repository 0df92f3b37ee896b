"""The worked examples' system as tests see it: actors, fixture rows, and a way to run things and look."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from memql.auth import Actor, system
from memql.engine.context import RequestContext
from memql.engine.engine import Engine
from memql.engine.result import Result
from memql.events import Event
from memql.graph.database import Database

U1 = Actor(user_id="v1:identity:user:u1", role="writer")
U2 = Actor(user_id="v1:identity:user:u2", role="writer")
BOSS = Actor(user_id="v1:identity:user:boss", role="admin")
SYSTEM = system("system:test")

FIXTURE = (
    'insert("v1:ops:customer", id="acme", payload={name:"Acme", tier:"gold", ownerUserId:"u1", prefs:{}})',
    'insert("v1:ops:customer", id="bolt", payload={name:"Bolt", ownerUserId:"u2"})',
    'insert("v1:ops:job", id="j1", payload={customerId:"acme", title:"Boiler", priority:1, '
    'dueAt:"2026-03-05T00:00:00Z"})',
    'insert("v1:ops:job", id="j2", payload={customerId:"acme", title:"Radiator", status:"done"})',
    'insert("v1:ops:job", id="j3", payload={customerId:"acme", title:"Valve", status:"scheduled", priority:2, '
    'dueAt:"2026-03-10T00:00:00Z"})',
    'insert("v1:ops:job", id="j4", payload={customerId:"bolt", title:"Meter", priority:2, active:false})',
    'insert("v1:ops:route", id="r1", payload={day:"2026-03-01", jobIds:["j1", "j3"]})',
)


@dataclass
class Ops:
    """The system under test: run something as somebody, look at what came of it."""

    engine: Engine
    database: Database
    events: list[Event] = field(default_factory=list)

    async def run(self, text: str, actor: Actor = BOSS, **variables: Any) -> Result:
        """Run raw text."""
        return await self.engine.execute(text, actor=actor, variables=variables)

    async def shorts(self, text: str, actor: Actor = BOSS) -> list[str]:
        """The short ids of the roots of a read, in order."""
        return [root.rpartition(":")[2] for root in (await self.run(text, actor)).root_ids]

    async def data(self, text: str, actor: Actor = BOSS) -> list[Any]:
        """The data of a read."""
        return (await self.run(text, actor)).decoded_data()

    async def row(self, text: str, actor: Actor = SYSTEM) -> dict[str, Any]:
        """The one node of a read or write."""
        (node,) = (await self.run(text, actor)).decoded_nodes()
        return node

    async def call_at(self, name: str, args: dict[str, Any], now: Any, actor: Actor = SYSTEM) -> Result:
        """Call a construct as the system does, at a moment."""
        context = RequestContext(actor=actor, now=now, inner=True)
        return await self.engine.call(name, args, actor=actor, context=context)

    def topics(self) -> list[str]:
        """The topics published so far."""
        return [event.topic for event in self.events]
