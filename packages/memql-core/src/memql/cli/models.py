"""``memql si``: ask a node's models, or what stands in for them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from memql.cli.connection import ServerOption, TimeoutOption, TokenOption, open_client
from memql.cli.output import say, show_json, show_json_line, show_table
from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memql.client import ChatReply, Embeddings

__all__ = ["register"]

_SHOWN = 6
"""Numbers of a vector that are shown."""

ProviderOption = Annotated[
    str | None,
    typer.Option("--provider", "-p", help="A provider or routing policy; the node's default unless given."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    si = typer.Typer(
        help="Ask models: chat and embeddings. Works without a key, and says so.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    si.command("chat")(chat)
    si.command("embed")(embed)
    app.add_typer(si, name="si")


def chat(
    text: Annotated[
        str, typer.Argument(help="What to ask, or /toolName key=value ..; - reads it from standard input.")
    ],
    provider: ProviderOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the whole answer as JSON, at once.")] = False,
    server: ServerOption = None,
    token: TokenOption = None,
    timeout: TimeoutOption = 120.0,
) -> None:
    """Ask and show the answer as it comes; what it quotes follows. Exit code 1 when it breaks off.

    Examples: memql si chat 'what happened at Denver?'; memql si chat '/departures airport=ABQ'
    """
    import anyio

    asked = sys.stdin.read() if text == "-" else text
    reply = anyio.run(_ask, asked, provider, as_json, server, token, timeout)
    if as_json:
        show_json({"text": reply.text, **reply.metadata})
    else:
        _show_sources(reply)
    if reply.metadata.get("finishReason") == "error":
        raise _broken_off(reply)


async def _ask(
    text: str, provider: str | None, quietly: bool, server: str | None, token: str | None, timeout: float
) -> ChatReply:
    async with open_client(server, token, timeout) as client:
        if quietly:
            return await client.si.chat(text, provider, timeout=timeout)
        reply: ChatReply | None = None
        async for delta in client.si.stream(text, provider, timeout=timeout):
            sys.stdout.write(delta.text)
            sys.stdout.flush()
            reply = delta.reply or reply
        sys.stdout.write("\n")
        if reply is None:
            raise MemqlError(Code.INTERNAL, "the answer ended without its whole")
        return reply


def _show_sources(reply: ChatReply) -> None:
    for number, citation in enumerate(reply.citations, 1):
        say(f"[{number}] {citation.id}  {citation.field}  {citation.similarity:.2f}")
    answered = f"answered by {reply.provider}"
    say(f"{answered} (degraded: {reply.degraded})" if reply.degraded else f"{answered}, {reply.model}")


def _broken_off(reply: ChatReply) -> MemqlError:
    cause = reply.metadata.get("error") or {}
    code = cause.get("code", "")
    return MemqlError(
        Code(code) if code in Code.__members__ else Code.UNAVAILABLE,
        f"the answer broke off: {cause.get('message', 'no reason was given')}",
    )


def embed(
    texts: Annotated[list[str], typer.Argument(help="Texts to embed.")],
    provider: ProviderOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON: model, dims, and the whole vectors.")] = False,
    server: ServerOption = None,
    token: TokenOption = None,
    timeout: TimeoutOption = 120.0,
) -> None:
    """Show how the vector of each text begins; with --json, the vectors."""
    import anyio

    async def ask() -> Embeddings:
        async with open_client(server, token, timeout) as client:
            return await client.si.embed(texts, provider, timeout=timeout)

    found = anyio.run(ask)
    if as_json:
        show_json_line({"model": found.model, "dims": found.dims, "vectors": found.vectors})
        return
    show_table(
        ["text", "vector"], [[text, _beginning(vector)] for text, vector in zip(texts, found.vectors, strict=True)]
    )
    say(f"{found.dims} numbers each, {found.model}")


def _beginning(vector: Sequence[float]) -> str:
    return f"{', '.join(f'{number:.3f}' for number in vector[:_SHOWN])}, …"
