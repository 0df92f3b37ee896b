"""The names an expression begins with: arguments, actor, row, bindings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from memql.engine.values.code import Code
from memql.engine.values.env import Env
from memql.engine.values.results import NOT_RAN, descend
from memql.errors import Code as ErrorCode
from memql.errors import MemqlError

__all__ = [
    "ROW_ROOTS",
    "actor_code",
    "args_code",
    "binding_code",
    "raw_binding_code",
    "row_code",
    "variable_code",
]

Path = tuple[str | int, ...]

ROW_ROOTS: Final = frozenset(
    {
        "id", "concept", "type", "createdAt", "createdBy", "payload", "schema", "provenance", "metadata",
        "topic", "kind",
    }
)  # fmt: skip
"""Members of a row, and of an event for an automation's ``@filter``."""

_ACTOR: Final[Mapping[str, Callable[[Env], Any]]] = {
    "userId": lambda env: env.actor.user_id,
    "role": lambda env: env.actor.role,
    "identityId": lambda env: env.actor.identity_id,
    "isClusterOwner": lambda env: env.actor.is_cluster_owner,
    "primaryEmail": lambda env: env.actor.primary_email,
    "now": lambda env: env.now,
    "config": lambda env: env.config,
}


def _below(read: Callable[[Env], Any], rest: Path) -> Callable[[Env], Any]:
    return (lambda env: descend(read(env), rest)) if rest else read


def args_code(rest: Path) -> Code:
    """``args`` and what is below; an omitted argument is null."""
    if not rest:
        return Code(lambda env: env.args)
    name = str(rest[0])
    return Code(_below(lambda env: env.args.get(name), rest[1:]))


def actor_code(rest: Path) -> Code:
    """``actor`` and what is below; alone, the envelope as an object.

    :raises MemqlError: ``INVALID_ARGUMENT`` for a member the envelope lacks.
    """
    if not rest:
        return Code(lambda env: {name: read(env) for name, read in _ACTOR.items()})
    name = str(rest[0])
    if name not in _ACTOR:
        raise MemqlError(
            ErrorCode.INVALID_ARGUMENT, f"actor.{name} does not exist; actor has {', '.join(sorted(_ACTOR))}"
        )
    return Code(_below(_ACTOR[name], rest[1:]), is_condition=name == "isClusterOwner")


def row_code(root: str, rest: Path) -> Code:
    """An intrinsic or ``payload`` of the row, and what is below."""
    if not rest:
        return Code(lambda env: env.row.get(root), reads_row=True)
    if root == "payload" and len(rest) == 1 and isinstance(rest[0], str):
        name = rest[0]

        def member_of_payload(env: Env) -> Any:
            payload = env.row.get("payload")
            return payload.get(name) if isinstance(payload, Mapping) else None

        return Code(member_of_payload, reads_row=True)
    # An object that has a member "payload" of its own is data here, no node: no fall-through.
    return Code(lambda env: _plain_descend(env.row.get(root), rest), reads_row=True)


def _plain_descend(value: Any, rest: Path) -> Any:
    for name in rest:
        if isinstance(value, Mapping):
            value = value.get(str(name))
        elif isinstance(value, list):
            value = descend(value, (name,))
        else:
            return None
    return value


def raw_binding_code(name: str, default: Any = None) -> Code:
    """A binding as it was stored, telling one that did not run."""
    return Code(lambda env: env.bindings.get(name, default))


def binding_code(name: str, rest: Path, default: Any = None) -> Code:
    """A binding and what is below; one that did not run is null."""

    def read(env: Env) -> Any:
        value = env.bindings.get(name, default)
        return None if value is NOT_RAN else value

    return Code(_below(read, rest))


def variable_code(name: str) -> Code:
    """``$name``.

    Evaluating it raises ``INVALID_ARGUMENT`` when the request did not give the variable.
    """

    def read(env: Env) -> Any:
        try:
            return env.variables[name]
        except KeyError:
            raise MemqlError(
                ErrorCode.INVALID_ARGUMENT, f"the variable ${name} was not given; pass it with the request"
            ) from None

    return Code(read)
