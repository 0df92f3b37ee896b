"""Editor support through a real node and the SDK, across a reload of the tree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from memql.client import Position, connect
from memql.config.loading import load_settings
from memql.node import open_node

pytestmark = pytest.mark.anyio

OPS = Path(__file__).parents[1] / "trees" / "ops"
SOURCE = "@enabled @public\nquery job queryX {\n  filter payload.ti\n}\n"


async def test_a_node_answers_what_editors_ask_about_the_tree_in_force(dsn: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(OPS, tree)
    settings = load_settings(
        {
            "MEMQL_ENVIRONMENT": "development",
            "MEMQL_HOME": str(tmp_path),
            "MEMQL_DATABASE_DSN": dsn,
            "MEMQL_DSL_PATH": str(tree),
            "MEMQL_GRPC_ADDRESS": "127.0.0.1:0",
            "SERVER_ADDRESS": "127.0.0.1:0",
        }
    )
    async with open_node(settings) as node, connect(str(node.server.grpc_address)) as client:
        items = await client.sense.complete(SOURCE, Position(3, 20), "ops/new.memql")
        assert items[0].label == "title"
        (finding,) = await client.sense.diagnose(SOURCE, "ops/new.memql")
        assert (finding.code, finding.range.start.line) == ("unknown-field", 3)
        hover = await client.sense.hover(SOURCE, Position(2, 8), "ops/new.memql")
        assert hover is not None
        assert "concept job" in hover.contents
        (target,) = await client.sense.definition(SOURCE, Position(2, 8), "ops/new.memql")
        assert (target.file, target.kind) == ("ops/concepts.memql", "concept")
        concepts = tree / "ops" / "concepts.memql"
        concepts.write_text(concepts.read_text() + "\nconcept gate {\n  letter string\n}\n")
        assert await node.reload()
        found = await client.sense.complete("concept == v1:ops:", Position(1, 19))
        assert "v1:ops:gate" in {item.label for item in found}
