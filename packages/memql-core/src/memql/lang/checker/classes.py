"""The four access classes, decided at load (spec "Four classes"): the first that matches wins."""

from __future__ import annotations

from collections.abc import Iterator

from memql.lang import ast
from memql.lang.catalog import AccessClass, Concept
from memql.lang.checker.check import Check
from memql.lang.checker.tree import Declared
from memql.lang.checker.walk import walk

__all__ = ["classify", "classify_insert"]

_ADVICE = (
    "mark it @public, tie a field to the caller (payload.ownerUserId == actor.userId), use a relationship function or "
    "spec with actor.userId, limit it with @role, @permission, @internal or a context spec, or give its concept "
    "@rowAuthz"
)
_USER = ("actor", "userId")
_ADMIN_PATHS = (("actor", "isClusterOwner"), ("actor", "role"))


def classify(check: Check, declared: Declared, condition: ast.Expr | None, concept: Concept) -> AccessClass | None:
    """The class of a query, update or delete by its filter; None after reporting that none fits."""
    rule = concept.row_rule
    terms = list(_terms(check, declared, condition, frozenset()))
    if declared.marks.has("public") or (rule and rule.public):
        return "public"
    if (rule and rule.owner) or any(_is_owned(term) for term, _ in terms):
        return "owned"
    if (rule and rule.via) or any(_is_granted(term) for term, _ in terms):
        return "granted"
    if _is_restricted(declared, concept) or any(context or _is_admin(term) for term, context in terms):
        return "admin"
    check.report.error("unclassified", declared.span, f"nothing says who may call {declared.name}: {_ADVICE}")
    return None


def classify_insert(check: Check, declared: Declared, write: ast.Write, concept: Concept) -> AccessClass | None:
    """The class of an insert, by what it stamps; None after reporting that none fits."""
    rule = concept.row_rule
    if declared.marks.has("public") or (rule and rule.public):
        return "public"
    if any(ast.path_of(entry.value) == _USER for entry in write.entries if entry.key not in ("id", "createdBy")):
        return "owned"
    if rule and rule.via:
        return "granted"
    filter_terms = _terms(check, declared, _filter_of(declared), frozenset())
    if _is_restricted(declared, concept) or any(context or _is_admin(term) for term, context in filter_terms):
        return "admin"
    check.report.error(
        "unclassified", declared.span,
        f"nothing says who may call {declared.name}: mark it @public, stamp a field with actor.userId, or limit it "
        "with @role, @permission or @internal",
    )  # fmt: skip
    return None


def _filter_of(declared: Declared) -> ast.Expr | None:
    decl = declared.decl
    if isinstance(decl, ast.QueryDecl | ast.MutationDecl):
        return next((clause.filter for clause in decl.clauses if isinstance(clause, ast.FilterClause)), None)
    return decl.filter if isinstance(decl, ast.SpecDecl | ast.TraitDecl) else None


def _is_restricted(declared: Declared, concept: Concept) -> bool:
    marked = any(declared.marks.has(name) for name in ("role", "permission", "internal"))
    return marked or bool(concept.row_rule and concept.row_rule.cluster_owner)


def _terms(
    check: Check, declared: Declared, condition: ast.Expr | None, seen: frozenset[Declared]
) -> Iterator[tuple[ast.Expr, bool]]:
    """Top-level AND terms, named predicates and inlined queries expanded; the flag tells terms of context specs."""
    if condition is None:
        return
    items = condition.items if isinstance(condition, ast.BoolOp) and condition.op == "&&" else (condition,)
    for item in items:
        if isinstance(item, ast.BoolOp) and item.op == "&&":
            yield from _terms(check, declared, item, seen)
            continue
        target = _named(check, declared, item)
        if target is None or target in seen:
            yield item, False
            continue
        facts = check.predicates.get(target)
        if facts is not None and facts.is_context:
            yield item, True
            continue
        yield from _terms(check, target, _filter_of(target), seen | {target})


def _named(check: Check, declared: Declared, item: ast.Expr) -> Declared | None:
    """The predicate or query a term names, as resolved in the construct that holds the term."""
    if isinstance(item, ast.Name):
        space, name = "predicates", item.name
    elif isinstance(item, ast.Call) and isinstance(item.callee, ast.Name):
        space, name = "calls", item.callee.name
    else:
        return None
    key = declared.names.get(space, {}).get(name)
    return check.declared(space, key) if key else None


def _is_owned(term: ast.Expr) -> bool:
    if not isinstance(term, ast.Compare) or term.op != "==":
        return False
    sides = ast.path_of(term.left), ast.path_of(term.right)
    if _USER not in sides:
        return False
    other = sides[0] if sides[1] == _USER else sides[1]
    if other is None:
        return False
    return other in (("createdBy",), ("id",)) or (other[0] == "payload" and len(other) > 1)


def _is_granted(term: ast.Expr) -> bool:
    return isinstance(term, ast.Relation) and _mentions(term.filter, (_USER,))


def _is_admin(term: ast.Expr) -> bool:
    # Terms under OR, !, ?. and when do not count: they may hold without the caller being anybody.
    if isinstance(term, ast.Compare):
        return _mentions(term.left, _ADMIN_PATHS) or _mentions(term.right, _ADMIN_PATHS)
    return ast.path_of(term) in _ADMIN_PATHS


def _mentions(expr: ast.Expr, paths: tuple[tuple[str, str], ...]) -> bool:
    return any(isinstance(part, ast.Member) and ast.path_of(part) in paths for part in walk(expr))
