"""``memql lsp``: what an editor asks, answered over the language server protocol."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from memql.errors import Code, MemqlError

try:
    from lsprotocol import types
    from pygls.lsp.server import LanguageServer
except ModuleNotFoundError as error:
    raise MemqlError(
        Code.FAILED_PRECONDITION, "the language server is not installed; install it with: pip install memql-core[lsp]"
    ) from error

from memql.cli.editor_protocol import completion_item, hover_of, place_in, range_of, signature_help_of
from memql.cli.editor_trees import EditorTrees, tree_root
from memql.cli.editor_views import TOKEN_TYPES, encoded_tokens, outline
from memql.lang.catalog import Catalog
from memql.lang.formatter import format_file
from memql.lang.sense import complete, definition, hover, signature_help

__all__ = ["build_server", "serve"]


def serve() -> None:
    """Serve on standard input and output until the editor says exit."""
    build_server().start_io()


def build_server() -> LanguageServer:
    """The server with its features; not started yet."""
    server = LanguageServer("memql", metadata.version("memql-core"))

    @cache
    def trees() -> EditorTrees:
        return EditorTrees(server)

    _serve_texts(server, trees)
    _serve_places(server, trees)
    _serve_views(server)
    return server


class _Trees(Protocol):
    def __call__(self) -> EditorTrees: ...


class _Placed(Protocol):
    """Parameters that name a place in a document."""

    @property
    def text_document(self) -> types.TextDocumentIdentifier: ...
    @property
    def position(self) -> types.Position: ...


def _serve_texts(server: LanguageServer, trees: _Trees) -> None:
    """Findings and formatting."""

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    async def opened(params: types.DidOpenTextDocumentParams) -> None:
        await trees().check(path_of(params.text_document.uri))

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(params: types.DidChangeTextDocumentParams) -> None:
        await trees().check_soon(path_of(params.text_document.uri))

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    async def saved(params: types.DidSaveTextDocumentParams) -> None:
        await trees().check_soon(path_of(params.text_document.uri))

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def formatting(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        return _format_edits(server.workspace.get_text_document(params.text_document.uri).source)


def _serve_places(server: LanguageServer, trees: _Trees) -> None:
    """What depends on where the cursor stands."""

    def asked(params: _Placed) -> tuple[str, int, int, str, Catalog]:
        """The arguments of the language's functions: text, line, column, path in the tree, catalog."""
        path = path_of(params.text_document.uri)
        text = server.workspace.get_text_document(params.text_document.uri).source
        line, column = place_in(text, params.position)
        return text, line, column, path.relative_to(tree_root(path)).as_posix(), trees().catalog(path)

    @server.feature(
        types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=[".", "@", "(", '"', ":", " "])
    )
    def completion(params: types.CompletionParams) -> list[types.CompletionItem]:
        question = asked(params)
        return [completion_item(one, question[0]) for one in complete(*question)]

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hovered(params: types.HoverParams) -> types.Hover | None:
        question = asked(params)
        found = hover(*question)
        return hover_of(found, question[0]) if found is not None else None

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def defined(params: types.DefinitionParams) -> list[types.Location]:
        question = asked(params)
        path = path_of(params.text_document.uri)
        locations = []
        for target in definition(*question):
            name = target.span.file or question[3]
            place, text = trees().locate(path, name)
            locations.append(types.Location(place.as_uri(), range_of(target.span, text)))
        return locations

    @server.feature(
        types.TEXT_DOCUMENT_SIGNATURE_HELP, types.SignatureHelpOptions(trigger_characters=["(", ",", ":", "{"])
    )
    def signature(params: types.SignatureHelpParams) -> types.SignatureHelp | None:
        found = signature_help(*asked(params))
        return signature_help_of(found) if found is not None else None


def _serve_views(server: LanguageServer) -> None:
    """Outline and colours."""

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def outlined(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        return outline(server.workspace.get_text_document(params.text_document.uri).source)

    @server.feature(
        types.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL,
        types.SemanticTokensLegend(token_types=list(TOKEN_TYPES), token_modifiers=[]),
    )
    def coloured(params: types.SemanticTokensParams) -> types.SemanticTokens:
        source = server.workspace.get_text_document(params.text_document.uri).source
        return types.SemanticTokens(data=encoded_tokens(source))


def path_of(uri: str) -> Path:
    """The path of a ``file:`` URI."""
    return Path(unquote(urlsplit(uri).path))


def _format_edits(source: str) -> list[types.TextEdit] | None:
    try:
        formatted = format_file(source)
    except MemqlError:
        # The diagnostics say what is wrong with it; a text that does not parse stays as it is.
        return None
    if formatted == source:
        return []
    end = types.Position(source.count("\n") + 1, 0)
    return [types.TextEdit(types.Range(types.Position(0, 0), end), formatted)]
