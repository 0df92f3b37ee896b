"""The language server over standard input and output, with a real child process."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

pytest.importorskip("pygls")
pytestmark = pytest.mark.anyio

OPS = Path(__file__).parents[1] / "trees" / "ops"
TIMEOUT = 30.0


class Editor:
    """The client's side of the protocol, as much as the tests need."""

    def __init__(self, process: Process, root: Path) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)
        self._ids = itertools.count(1)
        self.root = root

    async def request(self, method: str, params: Any) -> Any:
        number = next(self._ids)
        await self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        with anyio.fail_after(TIMEOUT):
            while (message := await self._receive()).get("id") != number:
                pass
        assert "error" not in message, message
        return message["result"]

    async def notify(self, method: str, params: Any) -> None:
        await self._send({"jsonrpc": "2.0", "method": method, "params": params})

    async def open(self, name: str, text: str) -> str:
        uri = (self.root / name).as_uri()
        document = {"uri": uri, "languageId": "memql", "version": 1, "text": text}
        await self.notify("textDocument/didOpen", {"textDocument": document})
        return uri

    async def checked(self) -> None:
        """Wait for findings: the tree is known from then on."""
        with anyio.fail_after(TIMEOUT):
            while (await self._receive()).get("method") != "textDocument/publishDiagnostics":
                pass

    async def ask(self, method: str, uri: str, line: int, character: int) -> Any:
        place = {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}
        return await self.request(f"textDocument/{method}", place)

    async def _send(self, message: Any) -> None:
        body = json.dumps(message).encode()
        await self._stdin.send(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def _receive(self) -> Any:
        length = 0
        while head := await self._stdout.receive_until(b"\r\n", 4096):
            name, _, value = head.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return json.loads(await self._stdout.receive_exactly(length))


@asynccontextmanager
async def running(root: Path) -> AsyncIterator[Editor]:
    command = [sys.executable, "-m", "memql", "lsp"]
    environment = {**os.environ, "MEMQL_DSL_PATH": ""}
    async with await anyio.open_process(command, stderr=None, cwd=root, env=environment) as process:
        editor = Editor(process, root)
        await editor.request("initialize", {"processId": None, "rootUri": root.as_uri(), "capabilities": {}})
        await editor.notify("initialized", {})
        yield editor
        await editor.request("shutdown", None)
        await editor.notify("exit", None)
        with anyio.fail_after(TIMEOUT):
            assert await process.wait() == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    shutil.copytree(OPS, root)
    return root


async def test_positions_count_utf16_units(tree: Path) -> None:
    line = '  filter payload.title == "\U0001f600\U0001f600" && payload.status == "open"'
    text = f"@enabled @public\nquery job oddJobs {{\n{line}\n}}\n"
    at = len(line[: line.index("payload.status")].encode("utf-16-le")) // 2 + len("payload.")
    async with running(tree) as editor:
        uri = await editor.open("ops/odd.memql", text)
        await editor.checked()
        hover = await editor.ask("hover", uri, 2, at + 1)
        assert hover["range"] == {"start": {"line": 2, "character": at}, "end": {"line": 2, "character": at + 6}}
        tokens = (await editor.request("textDocument/semanticTokens/full", {"textDocument": {"uri": uri}}))["data"]
        string = next(tokens[index : index + 5] for index in range(0, len(tokens), 5) if tokens[index + 3] == 2)
        assert string[2] == 6


async def test_a_document_is_outlined(tree: Path) -> None:
    text = "@enabled @public\nquery   job queryOdd {   count }\nconcept odd { name string }\n"
    async with running(tree) as editor:
        uri = await editor.open("ops/odd.memql", text)
        symbols = await editor.request("textDocument/documentSymbol", {"textDocument": {"uri": uri}})
        assert [one["name"] for one in symbols] == ["queryOdd", "odd"]
        assert [one["name"] for one in symbols[1]["children"]] == ["name"]
