"""``memql token``: mint, inspect, revoke; and the older names ``node-token mint`` and so on (spec "Command line")."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from datetime import timedelta

    from memql.identity.commands.opening import Workplace
    from memql.identity.issuing import Issuing
    from memql.identity.minting import Minted

__all__ = ["register"]

_BY = "system:token-cli"

NodeIdOption = Annotated[str | None, typer.Option("--node-id", help="node: the id of the node.")]
NodeTypeOption = Annotated[str | None, typer.Option("--node-type", help="node: its role.")]
InstanceOption = Annotated[str | None, typer.Option("--instance-id", help="voice_agent: its instance.")]
LabelOption = Annotated[str | None, typer.Option("--label", help="pat, service_account: what it is for.")]
SubjectOption = Annotated[str, typer.Option("--subject", help="service_account: the machine principal.")]
UserOption = Annotated[str | None, typer.Option("--user", help="user, pat: id or e-mail address of the user.")]
MintedByOption = Annotated[str | None, typer.Option("--minted-by", help="node, voice_agent: recorded as the minter.")]
LifeOption = Annotated[
    str | None,
    typer.Option("--ttl", help="How long it counts, such as 15m or 30d; the usual time of its class unless given."),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Write it to this file, mode 0600, and the file's name to stdout.")
]
ReactivateOption = Annotated[
    bool,
    typer.Option(
        "--reactivate",
        help="node, voice_agent: even if it was revoked; what was minted for it before counts again too.",
    ),
]


class Class(str, Enum):
    """What can be minted."""

    USER = "user"
    PAT = "pat"
    NODE = "node"
    VOICE_AGENT = "voice_agent"
    SERVICE_ACCOUNT = "service_account"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    token = _group("Mint, inspect and revoke credentials.")
    token.command("mint")(mint)
    token.command("inspect")(inspect)
    token.command("revoke")(revoke)
    app.add_typer(token, name="token")
    for name, command in (
        ("node-token", mint_node),
        ("voice-agent-token", mint_voice_agent),
        ("service-account-token", mint_service_account),
    ):
        alias = _group("The same as memql token.")
        alias.callback()(lambda: None)
        alias.command("mint")(command)
        app.add_typer(alias, name=name, hidden=True)


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


def mint(
    kind: Annotated[Class, typer.Option("--class", help="What to mint.")],
    user: UserOption = None,
    node_id: NodeIdOption = None,
    node_type: NodeTypeOption = None,
    instance_id: InstanceOption = None,
    label: LabelOption = None,
    subject: SubjectOption = "system:deploy-gate",
    minted_by: MintedByOption = None,
    ttl: LifeOption = None,
    reactivate: ReactivateOption = False,
    out: OutOption = None,
) -> None:
    """Mint a credential: one line on stdout, and a row that can revoke it."""
    needed = {
        Class.USER: {"--user": user},
        Class.PAT: {"--user": user, "--label": label},
        Class.NODE: {"--node-id": node_id, "--node-type": node_type},
        Class.VOICE_AGENT: {"--instance-id": instance_id},
        Class.SERVICE_ACCOUNT: {"--label": label},
    }[kind]
    for option, value in needed.items():
        if not value:
            raise typer.BadParameter(f"--class {kind.value} needs {option}")
    given = {
        "user": user,
        "node_id": node_id,
        "node_type": node_type,
        "instance_id": instance_id,
        "label": label,
        "subject": subject,
        "minted_by": minted_by,
        "reactivate": reactivate,
    }
    _run(kind, ttl, given, out)


def mint_node(
    node_id: Annotated[str, typer.Option("--node-id", help="The id of the node.")],
    node_type: Annotated[str, typer.Option("--node-type", help="Its role.")],
    minted_by: MintedByOption = None,
    ttl: LifeOption = None,
    reactivate: ReactivateOption = False,
    out: OutOption = None,
) -> None:
    """Mint a node's credential."""
    given = {"node_id": node_id, "node_type": node_type, "minted_by": minted_by, "reactivate": reactivate}
    _run(Class.NODE, ttl, given, out)


def mint_voice_agent(
    instance_id: Annotated[str, typer.Option("--instance-id", help="Its instance.")],
    minted_by: MintedByOption = None,
    ttl: LifeOption = None,
    reactivate: ReactivateOption = False,
    out: OutOption = None,
) -> None:
    """Mint a voice agent's credential."""
    given = {"instance_id": instance_id, "minted_by": minted_by, "reactivate": reactivate}
    _run(Class.VOICE_AGENT, ttl, given, out)


def mint_service_account(
    label: Annotated[str, typer.Option("--label", help="What it is for.")],
    subject: SubjectOption = "system:deploy-gate",
    ttl: LifeOption = None,
    out: OutOption = None,
) -> None:
    """Mint a service account's credential."""
    _run(Class.SERVICE_ACCOUNT, ttl, {"label": label, "subject": subject}, out)


def _run(kind: Class, ttl: str | None, given: dict[str, Any], out: Path | None) -> None:
    import anyio

    from memql.cli.output import say

    minted = anyio.run(_mint, kind, ttl, given)
    sys.stdout.write(_written(minted.token, out) + "\n")
    say(f"{kind.value} {minted.id}, expires {minted.expires_at.isoformat()}")


async def _mint(kind: Class, ttl: str | None, given: dict[str, Any]) -> Minted:
    from memql.identity.commands.opening import open_workplace

    life = _life(ttl)
    async with open_workplace() as place:
        return await _minted(place.issuing, kind, life or _usual(kind, place), given)


async def _minted(issuing: Issuing, kind: Class, life: timedelta, given: dict[str, Any]) -> Minted:
    from memql.auth import system
    from memql.identity.issuing import NodeRequest

    by = system(_BY)
    match kind:
        case Class.USER:
            return await issuing.mint_user(given["user"], life, by=by, client="memql token mint")
        case Class.PAT:
            return await issuing.mint_pat(given["user"], given["label"], life, by=by)
        case Class.VOICE_AGENT:
            return await issuing.mint_voice_agent(
                given["instance_id"],
                life,
                by=by,
                minted_by=given["minted_by"] or "system:voice-agent-token-cli",
                reactivate=given["reactivate"],
            )
        case Class.SERVICE_ACCOUNT:
            return await issuing.mint_service_account(given["label"], given["subject"], life, by=by)
        case Class.NODE:
            request = NodeRequest(
                node_id=given["node_id"],
                node_type=given["node_type"],
                minted_by=given["minted_by"] or "system:node-token-cli",
                life=life,
                reactivate=given["reactivate"],
            )
            return await issuing.mint_node(request, by=by)


def _usual(kind: Class, place: Workplace) -> timedelta:
    from datetime import timedelta

    from memql.identity.issuing import USUAL_LIFE

    if kind is Class.USER:
        return timedelta(seconds=place.settings.identity_access_token_ttl)
    return USUAL_LIFE[kind.value]


def _life(ttl: str | None) -> timedelta | None:
    from datetime import timedelta

    from memql.config import parse_duration
    from memql.errors import Code, MemqlError

    if ttl is None:
        return None
    try:
        return timedelta(seconds=parse_duration(ttl))
    except ValueError as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"--ttl {ttl!r}: {error}") from error


def _written(token: str, out: Path | None) -> str:
    """What goes to stdout: the token, or the name of the file that holds it."""
    if out is None:
        return token
    import os

    from memql.errors import Code, MemqlError

    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)
            file.write(token + "\n")
    except OSError as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"{out} cannot be written: {error.strerror}") from error
    return str(out)


def inspect(
    token: Annotated[
        str | None, typer.Argument(help="The credential; standard input unless given.", show_default=False)
    ] = None,
) -> None:
    """Show what a credential says and whether it counts here and now. Exit code 1 when it does not."""
    import anyio

    from memql.cli.output import show_json

    shown = (token or sys.stdin.read()).strip()
    report = anyio.run(_inspect, shown)
    show_json(report)
    if report["verdict"] != "valid":
        raise typer.Exit(1)


async def _inspect(token: str) -> dict[str, Any]:
    from memql.identity.commands.inspection import inspect_token
    from memql.identity.commands.opening import open_workplace

    async with open_workplace() as place:
        return await inspect_token(place, token)


def revoke(
    id: Annotated[str, typer.Option("--id", help="The row of the credential or session: its full or bare id.")],
) -> None:
    """Revoke a credential or a session; open streams end within seconds."""
    import anyio

    sys.stdout.write(anyio.run(_revoke, id) + "\n")


async def _revoke(row_id: str) -> str:
    from memql.auth import system
    from memql.identity.commands.opening import open_workplace

    async with open_workplace() as place:
        return await place.issuing.revoke(row_id, by=system(_BY))
