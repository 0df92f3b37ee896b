from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

SOUND = "concept job {\n  title string!\n}\n"
BROKEN = "concept job {\n  /* \U0001f600 */ title strin!\n}\n"


class Editor:
    """The client's side of the protocol, as far as these tests go."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to: IO[bytes] = process.stdin
        self._from: IO[bytes] = process.stdout
        self._number = 0

    def request(self, method: str, params: dict[str, Any]) -> Any:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        return self._until(lambda message: message.get("id") == self._number)["result"]

    def notify(self, method: str, params: dict[str, Any]) -> None:
        self._send({"method": method, "params": params})

    def diagnostics(self, uri: str) -> list[dict[str, Any]]:
        """The next diagnostics of a file."""
        found = self._until(
            lambda message: (
                message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri
            )
        )
        diagnostics: list[dict[str, Any]] = found["params"]["diagnostics"]
        return diagnostics

    def open(self, uri: str, text: str) -> None:
        document = {"uri": uri, "languageId": "memql", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, uri: str, text: str, version: int) -> None:
        params = {"textDocument": {"uri": uri, "version": version}, "contentChanges": [{"text": text}]}
        self.notify("textDocument/didChange", params)

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._to.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._to.flush()

    def _until(self, wanted: Any) -> dict[str, Any]:
        while True:
            length = 0
            while line := self._from.readline().strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            assert length, "the server has gone"
            message: dict[str, Any] = json.loads(self._from.read(length))
            if wanted(message):
                return message


@pytest.fixture
def tree(clean_environment: Path, tmp_path: Path) -> Path:
    namespace = tmp_path / "tree" / "shop"
    namespace.mkdir(parents=True)
    (namespace / "concepts.memql").write_text(SOUND)
    return tmp_path / "tree"


@pytest.fixture
def editor(tree: Path) -> Iterator[Editor]:
    with subprocess.Popen(
        [sys.executable, "-m", "memql", "lsp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            editor = Editor(process)
            editor.request("initialize", {"processId": None, "rootUri": tree.as_uri(), "capabilities": {}})
            editor.notify("initialized", {})
            yield editor
            editor.request("shutdown", {})
            editor.notify("exit", {})
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_problem_is_marked_while_it_is_typed_and_goes_when_it_is_mended(editor: Editor, tree: Path) -> None:
    uri = (tree / "shop" / "concepts.memql").as_uri()
    editor.open(uri, BROKEN)
    (found,) = editor.diagnostics(uri)
    assert (found["code"], found["severity"], found["source"]) == ("unknown-type", 1, "memql")
    # The face before it is one character for us and two units for the protocol.
    assert found["range"]["start"] == {"line": 1, "character": 17}
    assert found["range"]["end"] == {"line": 1, "character": 22}
    editor.change(uri, SOUND, 2)
    assert editor.diagnostics(uri) == []


def test_a_change_shows_what_it_breaks_in_other_files(editor: Editor, tree: Path) -> None:
    queries = tree / "shop" / "queries.memql"
    queries.write_text('@enabled @public query job queryJobs { filter payload.title == "x" }\n')
    uri = (tree / "shop" / "concepts.memql").as_uri()
    editor.open(uri, SOUND.replace("title", "name"))
    (found,) = editor.diagnostics(queries.as_uri())
    assert found["code"] == "unknown-field"


def test_formatting_gives_the_canonical_text_or_nothing(editor: Editor, tree: Path) -> None:
    uri = (tree / "shop" / "concepts.memql").as_uri()
    editor.open(uri, "concept   job {\n title   string! }\n")
    options = {"tabSize": 2, "insertSpaces": True}
    (edit,) = editor.request("textDocument/formatting", {"textDocument": {"uri": uri}, "options": options})
    assert edit["newText"].startswith("concept job {")
    editor.change(uri, edit["newText"], 2)
    again = editor.request("textDocument/formatting", {"textDocument": {"uri": uri}, "options": options})
    assert again == []
    editor.change(uri, "concept {", 3)
    assert editor.request("textDocument/formatting", {"textDocument": {"uri": uri}, "options": options}) is None


QUERY = "@enabled @public query job queryJobs {\n  filter payload.ti\n}\n"


def test_completion_hover_and_definition_know_the_tree(editor: Editor, tree: Path) -> None:
    concepts = (tree / "shop" / "concepts.memql").as_uri()
    uri = (tree / "shop" / "queries.memql").as_uri()
    editor.open(concepts, SOUND.replace("concept", "/// A piece of work.\nconcept"))
    editor.open(uri, QUERY.replace("payload.ti", 'payload.title == "x"'))
    editor.change(uri, QUERY, 2)
    editor.diagnostics(uri)
    document = {"uri": uri}
    items = editor.request(
        "textDocument/completion", {"textDocument": document, "position": {"line": 1, "character": 19}}
    )
    (title,) = [item for item in items if item["label"] == "title"]
    assert title["textEdit"]["range"]["start"] == {"line": 1, "character": 17}
    name = {"line": 0, "character": 24}
    hovered = editor.request("textDocument/hover", {"textDocument": document, "position": name})
    assert "A piece of work." in hovered["contents"]["value"]
    (target,) = editor.request("textDocument/definition", {"textDocument": document, "position": name})
    assert target["uri"] == concepts
    assert target["range"]["start"]["line"] == 1


def test_a_call_being_written_shows_its_signature(editor: Editor, tree: Path) -> None:
    uri = (tree / "shop" / "queries.memql").as_uri()
    text = "@enabled @public query job queryJobs {\n  filter payload.title == upper(\n}\n"
    editor.open(uri, text)
    editor.diagnostics(uri)
    position = {"line": 1, "character": 32}
    shown = editor.request("textDocument/signatureHelp", {"textDocument": {"uri": uri}, "position": position})
    assert shown["signatures"]
