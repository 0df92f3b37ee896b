"""Named reads: clauses, filters, shapes, order, pages (spec "Construct rules", Query)."""

from __future__ import annotations

from typing import Literal

from memql.lang import ast
from memql.lang.catalog import AccessClass, Concept, Query
from memql.lang.checker.build import common
from memql.lang.checker.check import Check
from memql.lang.checker.classes import classify
from memql.lang.checker.declare import warn_naming
from memql.lang.checker.env import Env
from memql.lang.checker.expressions import check_expr
from memql.lang.checker.filters import check_filter
from memql.lang.checker.predicates import check_uses
from memql.lang.checker.shapes import check_payload_path
from memql.lang.checker.static import ROW_ROOTS
from memql.lang.checker.tree import Declared
from memql.lang.literals import literal_value

__all__ = ["clause_of", "clauses_by_type", "read_queries"]

SortKey = tuple[str, Literal["asc", "desc"]]


def read_queries(check: Check) -> dict[str, Query]:
    """Check and build every query whose concept is known."""
    built = {}
    for declared in check.tree.of_kind("query"):
        warn_naming(declared, False, check.report)
        query = _query(check, declared)
        if query is not None:
            built[declared.key] = query
    return built


def clauses_by_type(check: Check, clauses: tuple[ast.Clause, ...]) -> dict[type, ast.Clause]:
    """The clauses of a construct; a second one of a type is refused."""
    found: dict[type, ast.Clause] = {}
    for clause in clauses:
        if type(clause) in found:
            name = type(clause).__name__.removesuffix("Clause")
            word = name[0].lower() + name[1:]
            check.report.error("duplicate-clause", clause.span, f"the clause {word!r} stands twice; keep one")
            continue
        found[type(clause)] = clause
    return found


def clause_of(decl: ast.QueryDecl | ast.MutationDecl) -> ast.FilterClause | None:
    """The first filter clause."""
    return next((clause for clause in decl.clauses if isinstance(clause, ast.FilterClause)), None)


def _query(check: Check, declared: Declared) -> Query | None:
    decl = declared.decl
    assert isinstance(decl, ast.QueryDecl)
    concept = check.bound.get(declared)
    clauses = clauses_by_type(check, decl.clauses)
    env = Env(check=check, owner=declared, places="F", args=check.args_of(declared), row=True, concept=concept)
    where = clauses.get(ast.FilterClause)
    condition = where.filter if isinstance(where, ast.FilterClause) else None
    if condition is not None:
        check_filter(condition, env)
        check_uses(check, env.facts)
    shape = _shape(check, declared, clauses.get(ast.ShapeClause), concept)
    order = _sort(check, clauses.get(ast.SortClause), concept)
    limit = _paginate(clauses.get(ast.PaginateClause), env)
    as_of = _as_of(clauses.get(ast.AsOfClause), env)
    access = _access(check, declared, condition, env)
    if concept is None or access is None:
        return None
    return Query(
        **common(check, declared),
        concept=concept.key,
        args=check.args[declared] or (),
        filter=condition,
        shape=shape,
        sort=order,
        paginate=limit,
        as_of=as_of,
        count=ast.CountClause in clauses,
        access=access,
    )


def _access(check: Check, declared: Declared, condition: ast.Expr | None, env: Env) -> AccessClass | None:
    if not env.facts.sound or env.concept is None:
        # A filter that does not check cannot be classified, and its own finding already refuses the tree.
        return None
    return classify(check, declared, condition, env.concept)


def _shape(check: Check, declared: Declared, clause: ast.Clause | None, concept: Concept | None) -> str:
    if not isinstance(clause, ast.ShapeClause):
        return ""
    found = check.names.find(declared, "shapes", clause.name, clause.span)
    if found is None:
        return ""
    bound = check.bound.get(found)
    if bound is not None and concept is not None and bound.key != concept.key:
        check.report.error(
            "shape-path", clause.span, f"{found.name} projects {bound.key}, and {declared.name} reads {concept.key}"
        )
    assert isinstance(found.decl, ast.ShapeDecl)
    if bound is None and found.decl.concept is None:
        for item in found.decl.items:
            if isinstance(item, ast.ShapePath) and item.path[0] == "payload":
                check_payload_path(check, concept, item.path[1:], clause.span)
    return found.key


def _sort(check: Check, clause: ast.Clause | None, concept: Concept | None) -> tuple[SortKey, ...]:
    if not isinstance(clause, ast.SortClause):
        return ()
    keys: list[SortKey] = []
    items = list(clause.items)
    while items:
        field = items.pop(0)
        direction = items.pop(0) if items and items[0] in ("asc", "desc") else "desc"
        segments = tuple(int(part) if part.isdigit() else part for part in field.split("."))
        if segments[0] == "payload" and len(segments) > 1:
            check_payload_path(check, concept, segments[1:], clause.span)
        elif segments[0] not in ROW_ROOTS:
            check.report.error(
                "bad-argument", clause.span,
                f'{field!r} is nothing to sort by; write a path and a direction: sort "payload.title", "asc"',
            )  # fmt: skip
        keys.append((field, "asc" if direction == "asc" else "desc"))
    return tuple(keys)


def _paginate(clause: ast.Clause | None, env: Env) -> ast.Expr | None:
    if not isinstance(clause, ast.PaginateClause):
        return None
    check_expr(clause.limit, env.guarded(*(env.args or ())))
    value = literal_value(clause.limit)
    if isinstance(clause.limit, ast.Literal) and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        env.check.report.error("bad-argument", clause.span, "a page has at least one row: paginate 20")
    return clause.limit


def _as_of(clause: ast.Clause | None, env: Env) -> ast.Expr | None:
    if not isinstance(clause, ast.AsOfClause) or clause.at is None:
        return None
    before = env.facts.row
    env.facts.row = False
    check_expr(clause.at, env)
    if env.facts.row:
        env.check.report.error("filter-value", clause.span, "asOf takes an instant known before the read, not row data")
    env.facts.row = before
    return clause.at
