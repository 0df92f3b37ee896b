"""``memql keys``: the signing keys of the identity service."""

from __future__ import annotations

from typing import Annotated, Any

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="The signing keys.", no_args_is_help=True, rich_markup_mode=None)
    keys.callback()(lambda: None)
    keys.command("status")(status)
    app.add_typer(keys, name="keys")


def status(as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """Show which key signs, which come before and after, and where they are kept."""
    from memql.cli.output import say, show_json, show_table
    from memql.identity.commands.opening import issuer_settings
    from memql.identity.keyring import load_keys

    ring = load_keys(issuer_settings())
    slots = {"current": ring.current, "next": ring.following, "previous": ring.previous}
    rows: list[dict[str, Any]] = [
        {
            "slot": slot,
            "kid": key.kid,
            "createdAt": key.created_at.isoformat() if key.created_at.year > 1970 else "",
            "retiresAt": key.retires_at.isoformat() if key.retires_at else "",
        }
        for slot, key in slots.items()
        if key is not None
    ]
    if as_json:
        show_json({"mode": ring.mode, "fingerprint": ring.fingerprint, "keys": rows})
        return
    show_table(["SLOT", "KID", "CREATED", "RETIRES"], [list(row.values()) for row in rows])
    say(f"kept {'on disk' if ring.mode == 'disk' else 'in the environment'}; fingerprint {ring.fingerprint}")
