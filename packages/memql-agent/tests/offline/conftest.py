"""A node of the agent role, with the airline example, a small tree of texts, and callers of different rights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from memql.agent import AgentRole
from memql.auth import Actor, local_owner, system
from memql.client import Client, connect
from memql.config.loading import load_settings
from memql.errors import Code, MemqlError
from memql.events import Delivery, Event, Subscription
from memql.node import Node, open_node
from memql.server.ports import Credentials, Principal

EXAMPLES = Path(__file__).resolve().parents[4] / "examples" / "airline"

MEMO = """
@rowAuthz(public) @displayCard(primary="title")
concept article { title string! body string topic enum("plants", "machines") @default("plants") }

@rowAuthz(owner="ownerUserId")
concept diary { text string! token string @secret ownerUserId string! }

concept draft { text string! }

@rowAuthz(clusterOwner)
concept ledger { text string! }

@rowAuthz(via="specOfMyDiary")
concept remark {
  text string!
  diaryId string!
  @relationship(type="parent", field="diaryId", target=diary)
}

@rowAuthz(public)
concept hint {
  text string!
  diaryId string!
  @relationship(type="references", field="diaryId", target=diary)
}

spec specOfMyDiary { childOf(concept == v1:memo:diary; payload.ownerUserId == actor.userId) }
"""

CALLS = """
use memo.concepts.{ article }

/// Articles of a title.
@enabled @public
query article queryArticles {
  args { title string! topic string @enum("plants", "machines") }
  filter payload.title == args.title; ?.payload.topic == args.topic
}

@enabled @public
query article queryAllArticles { }

@enabled @role("reader")
mutation article mutationAddArticle {
  args { title string! body string }
  insert { id: args.title args.title args.body }
}

@enabled @handler(type="query", query="queryArticles({title: $args.title, topic: $args.topic})")
tool findArticle { title string! topic string @enum("plants", "machines") }

@enabled @handler(type="function", name="queryAllArticles")
tool allArticles { }

@enabled @handler(type="function", name="mutationAddArticle")
tool addArticle { title string! body string }

@enabled @handler(type="query", query="queryAllArticles()") @clientExecution
tool showArticles { }

@base @type("Strange") provider strange { auth { apiKey env("STRANGE_KEY") } }
@extends("strange") @model("odd-1") @modality("chat") provider strangeChat { }
@primary("strangeChat") policy strangeFirst { }
"""

USERS: Mapping[str, Actor] = {
    "ann": Actor(user_id="v1:identity:user:ann", role="writer"),
    "bob": Actor(user_id="v1:identity:user:bob", role="reader"),
    "boss": Actor(user_id="v1:identity:user:boss", role="admin"),
    "owner": local_owner(),
    "guest": Actor(role="guest", principal="guest:g1"),
}
SYSTEM = system("system:test")

Open: TypeAlias = "Callable[..., AbstractAsyncContextManager[AgentNode]]"


class Names:
    """Takes a caller at their word: the token is a name of :data:`USERS`; without one it is the owner."""

    async def authenticate(self, credentials: Credentials) -> Principal:
        name = credentials.authorization.removeprefix("Bearer ") or "owner"
        if name not in USERS:
            raise MemqlError(Code.UNAUTHENTICATED, f"nobody is called {name}")
        return Principal(actor=USERS[name])


@dataclass
class AgentNode:
    """A running node and a way to talk to it."""

    node: Node
    transport: str = "grpc"

    def connect(self, name: str = "owner") -> AbstractAsyncContextManager[Client]:
        """A client of that user."""
        server = self.node.server
        address = str(server.grpc_address) if self.transport == "grpc" else f"ws://{server.http_address}"
        return connect(address, name)

    async def write(self, concept: str, id: str, payload: Mapping[str, Any], actor: Actor = SYSTEM) -> None:
        """Write a row as somebody."""
        text = f'insert("{concept}", id=$id, payload=$payload)'
        owner = Actor(user_id=actor.user_id, role="owner", is_cluster_owner=True, principal=actor.principal)
        await self.node.engine.execute(text, actor=owner, variables={"id": id, "payload": dict(payload)})

    def subscribe(self, pattern: str) -> AbstractAsyncContextManager[Subscription]:
        """What the bus is told."""
        return self.node.bus.subscribe(pattern, name="test")


async def heard(subscription: Subscription, count: int) -> list[Event]:
    """The next events of a subscription."""
    found: list[Delivery] = []
    async for delivery in subscription:
        found.append(delivery)
        if len(found) == count:
            break
    return [delivery.event for delivery in found]


@pytest.fixture
def open_agent(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open a node of the agent role over a fresh database."""
    tree = tmp_path / "tree"
    (tree / "memo").mkdir(parents=True)
    (tree / "memo" / "memo.memql").write_text(MEMO)
    (tree / "memo" / "calls.memql").write_text(CALLS)
    monkeypatch.setattr("memql.server.no_auth.take_everyone", Names)

    @asynccontextmanager
    async def opened(transport: str = "grpc", **environ: str) -> AsyncIterator[AgentNode]:
        settings = load_settings(
            {
                "MEMQL_ENVIRONMENT": "development",
                "MEMQL_HOME": str(tmp_path),
                "MEMQL_DATABASE_DSN": dsn,
                "MEMQL_DSL_PATH": f"{EXAMPLES / 'tree'}:{tree}",
                "MEMQL_GRPC_ADDRESS": "127.0.0.1:0",
                "SERVER_ADDRESS": "127.0.0.1:0",
                "MEMQL_NODE_SERVICE_ADDRESS": "127.0.0.1:0",
                "MEMQL_NODE_ID": "agent-a",
                **environ,
            }
        )
        async with open_node(settings, roles=[AgentRole()], everything=True) as node:
            yield AgentNode(node, transport)

    return opened


@pytest.fixture
async def agent(open_agent: Open) -> AsyncIterator[AgentNode]:
    """An open node, spoken to over gRPC."""
    async with open_agent() as node:
        yield node


@pytest.fixture(params=["grpc", "websocket"])
async def either(request: pytest.FixtureRequest, open_agent: Open) -> AsyncIterator[AgentNode]:
    """An open node, spoken to over each transport."""
    async with open_agent(request.param) as node:
        yield node
