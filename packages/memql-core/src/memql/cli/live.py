"""Commands that talk to a running node: query, subscribe, run-automation."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memql.cli.connection import ServerOption, TimeoutOption, TokenOption, open_client
from memql.cli.output import cell, say, show_json, show_json_line, show_table
from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from memql.client import Event, Result, Row, RunEvent

__all__ = ["register"]

_GLANCE = 120
"""Characters of a row that ``subscribe`` shows."""

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]
VariableOption = Annotated[
    list[str] | None,
    typer.Option(
        "--var",
        "-v",
        metavar="NAME=VALUE",
        help="Value of $NAME in the text: JSON where it is that, else text. May be repeated.",
    ),
]
TextArgument = Annotated[str, typer.Argument(help="Query text; - reads it from standard input.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("query")(query)
    app.command("subscribe")(subscribe)
    app.command("run-automation")(run_automation)


def query(
    text: TextArgument,
    variables: VariableOption = None,
    as_json: JsonOption = False,
    raw: Annotated[bool, typer.Option("--raw", help="Write the whole result as JSON: bundle, data and meta.")] = False,
    server: ServerOption = None,
    token: TokenOption = None,
    timeout: TimeoutOption = 30.0,
) -> None:
    """Run query text on a node and show the rows.

    Examples: memql query 'queryJobs({customerId: "acme"})';
    memql query 'concept==v1:ops:job;payload.status==$s' -v s=open
    """
    import anyio

    source = sys.stdin.read() if text == "-" else text
    result = anyio.run(_run_query, source, parse_assignments(variables or ()), server, token, timeout)
    if raw:
        for frame in result.raw:
            sys.stdout.write(frame.decode() + "\n")
    elif as_json:
        show_json([dict(row) for row in result.rows])
    else:
        _show_rows(result)


async def _run_query(
    text: str, variables: dict[str, Any], server: str | None, token: str | None, timeout: float
) -> Result:
    async with open_client(server, token, timeout) as client:
        return await client.execute(text, variables)


def _show_rows(result: Result) -> None:
    rows = result.rows
    if rows:
        flat = [_flat(row) for row in rows]
        columns = list(dict.fromkeys(name for row in flat for name in row))
        show_table(columns, [[cell(row.get(name)) for name in columns] for row in flat])
    meta = result.meta
    more = "; more follow" if meta.has_more else ""
    written = f"; wrote {meta.server_id}" if meta.version else ""
    say(f"{len(rows)} row{'' if len(rows) == 1 else 's'} in {meta.took} ms{more}{written}")


_HIDDEN = frozenset({"concept", "type", "payload", "schema", "metadata", "provenance"})


def _flat(row: Row) -> dict[str, Any]:
    """A node with its payload's members beside the intrinsics; a shaped row as it is."""
    payload = row.get("payload")
    if not isinstance(payload, dict):
        return dict(row)
    return {**{name: value for name, value in row.items() if name not in _HIDDEN}, **payload}


def parse_assignments(pairs: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """``NAME=VALUE`` pairs: values that are JSON as what they are, others as text.

    :raises MemqlError: ``INVALID_ARGUMENT`` for a pair that is none.
    """
    import msgspec

    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{pair!r} is not NAME=VALUE")
        try:
            values[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            values[name] = text
    return values


def subscribe(
    concept: Annotated[str | None, typer.Argument(help="Concept id, such as v1:ops:job; all unless given.")] = None,
    action: Annotated[
        list[str] | None, typer.Option("--action", "-a", help="created, updated or deleted. May be repeated.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="graph_events (default), domain_events, automation_events, all, ..."),
    ] = None,
    filter: Annotated[str, typer.Option("--filter", "-f", help="Topic pattern, instead of a concept.")] = "",
    resume_after: Annotated[str | None, typer.Option("--resume-after", help="Cursor of the last event seen.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", help="Stop after that many events; 0 never stops.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    server: ServerOption = None,
    token: TokenOption = None,
    timeout: TimeoutOption = 30.0,
) -> None:
    """Show events as they happen, until interrupted."""
    import anyio

    async def follow() -> None:
        async with (
            open_client(server, token, timeout) as client,
            client.subscribe(concept, action or (), kind=kind, filter=filter, resume_after=resume_after) as events,
        ):
            node = client.server.node_id
            say(f"subscribed at {node}; Ctrl-C ends")
            seen = 0
            async for event in events:
                if client.server.node_id != node:
                    node = client.server.node_id
                    say(f"now at {node}")
                _show_event(event, as_json)
                seen += 1
                if count and seen >= count:
                    return

    anyio.run(follow)


def _show_event(event: Event, as_json: bool) -> None:
    if event.gap_before:
        say("warning: events before the next one were lost")
    if as_json:
        show_json_line(
            {
                "topic": event.topic,
                "kind": event.kind,
                "ts": event.ts,
                "seq": event.seq,
                "gapBefore": event.gap_before,
                "cursor": event.cursor,
                "payload": event.payload,
            }
        )
        return
    when = event.ts.astimezone().strftime("%H:%M:%S.%f")[:-3] if event.ts else ""
    subject = event.payload.get("nodeId")
    sys.stdout.write(f"{when}  {event.topic}  {subject or ''}  {_excerpt(event.payload)}".rstrip() + "\n")
    sys.stdout.flush()


def _excerpt(payload: Mapping[str, Any]) -> str:
    """The row of a graph event, or the payload of any other, as JSON cut to a glance."""
    import msgspec

    row = payload.get("payload")
    text = msgspec.json.encode(row if isinstance(row, dict) else payload).decode()
    return text if len(text) <= _GLANCE else text[: _GLANCE - 1] + "…"


def run_automation(
    name: Annotated[str, typer.Argument(help="The automation's name.")],
    payload: Annotated[str, typer.Option("--payload", help="JSON object: the payload of the event.")] = "{}",
    concept: Annotated[str, typer.Option("--concept", help="Concept of the event it should answer.")] = "",
    topic: Annotated[str, typer.Option("--topic", help="Topic of the event it should answer.")] = "",
    output: Annotated[bool, typer.Option("--output", help="Show what each step gave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    server: ServerOption = None,
    token: TokenOption = None,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Run an automation by hand and follow its steps. Exit code 1 when the run fails."""
    import anyio

    values = _json_object(payload)

    async def follow() -> str:
        status = ""
        async with open_client(server, token, timeout) as client:
            events = client.automations.run(name, values, concept=concept, topic=topic, output=output, timeout=timeout)
            async for event in events:
                status = event.status or status
                _show_run_event(event, as_json)
        return status

    if anyio.run(follow) not in {"completed", "succeeded", "skipped"}:
        raise typer.Exit(1)


def _json_object(text: str) -> dict[str, Any]:
    import msgspec

    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"the payload is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MemqlError(Code.INVALID_ARGUMENT, "the payload must be a JSON object")
    return value


def _show_run_event(event: RunEvent, as_json: bool) -> None:
    if as_json:
        import msgspec

        show_json_line(msgspec.to_builtins(event))
        return
    what = event.automation if event.kind == "accepted" else event.step or "run"
    trouble = f"  {event.error}" if event.error else ""
    sys.stdout.write(f"{event.kind:9} {what:24} {event.status:10} {event.duration_ms:6} ms{trouble}\n")
    if event.output:
        sys.stdout.write(f"          {cell(event.output)}\n")
    sys.stdout.flush()
