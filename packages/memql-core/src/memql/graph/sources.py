"""What reads select from: SQL fragments for the latest state, the state at an instant, and every version.

Each fragment is a FROM item under an alias of the caller's, with the columns of :data:`COLUMNS`. None hides
tombstones: the caller adds ``NOT alias.deleted``, after the choice of the version and beside its own filter
(spec "Reading versions").

A ``scope`` is a condition on the concept or the id, written for the alias ``h``: ``h.concept = 'v1:ops:job'``
or ``h.id = %(id)s``. A concept must stand in it as a literal, not as a bound value, because the indexes that
a tree declares cover one concept each and the planner has to see which.
"""

from __future__ import annotations

from memql.graph.store import Store

__all__ = ["COLUMNS", "as_of", "history", "latest", "text_literal"]

COLUMNS = (
    "id",
    "created_at",
    "concept",
    "type",
    "created_by",
    "schema",
    "payload",
    "metadata",
    "provenance",
    "deleted",
    "seq",
    "moment",
)
"""The columns that every source has, in the order in which they are selected; ``moment`` is ``created_at`` as text."""


def latest(alias: str, *, store: Store = Store.MEMORY) -> str:
    """The newest version of every id: a plain table, so every index on it serves the caller's conditions."""
    return f"{store.heads} AS {alias}"


def as_of(alias: str, scope: str, moment: str, *, store: Store = Store.MEMORY) -> str:
    """The newest version of every id in ``scope`` with ``created_at <= moment``.

    An id whose latest version is old enough is answered by its head; only the others cost one descent of the
    log's primary key each. So the cost follows the number of ids, not of versions.

    :param moment: an SQL expression of type timestamptz, for example ``%(moment)s::timestamptz``.
    """
    ours, theirs = _columns("h"), _columns("v")
    return (
        f"(SELECT {ours} FROM {store.heads} AS h WHERE {scope} AND h.created_at <= {moment} "
        f"UNION ALL SELECT {theirs} FROM {store.heads} AS h CROSS JOIN LATERAL ("
        f"SELECT {_logged('l')} FROM {store.log} AS l WHERE l.id = h.id AND l.created_at <= {moment} "
        f"ORDER BY l.created_at DESC LIMIT 1) AS v WHERE {scope} AND h.created_at > {moment}) AS {alias}"
    )


def history(alias: str, scope: str, *, store: Store = Store.MEMORY) -> str:
    """Every version of every id in ``scope``, tombstones included."""
    return (
        f"(SELECT {_logged('v')} FROM {store.heads} AS h JOIN {store.log} AS v ON v.id = h.id WHERE {scope}) AS {alias}"
    )


def text_literal(value: str) -> str:
    """``value`` as an SQL text literal, for concept ids and field names that the planner has to see.

    :raises ValueError: when it holds a percent sign or a backslash, which no such name can.
    """
    if "%" in value or "\\" in value:
        raise ValueError(f"{value!r} is no name")
    return "'" + value.replace("'", "''") + "'"


def _columns(alias: str) -> str:
    return ", ".join(f"{alias}.{column}" for column in COLUMNS)


def _logged(alias: str) -> str:
    """The columns of a log, which keeps no text of its instants."""
    kept = ", ".join(f"{alias}.{column}" for column in COLUMNS if column != "moment")
    return f"{kept}, memql_moment({alias}.created_at) AS moment"
