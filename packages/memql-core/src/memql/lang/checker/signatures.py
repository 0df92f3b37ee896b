"""What callers see of every construct: its arguments, and the concept in its signature."""

from __future__ import annotations

from memql.lang import ast
from memql.lang.checker.check import Check
from memql.lang.checker.fields import read_args
from memql.lang.checker.tree import Declared

__all__ = ["read_signatures"]


def read_signatures(check: Check) -> None:
    """Read arguments and bound concepts of all constructs, before any body is looked at."""
    for declared in check.tree.declared:
        decl = declared.decl
        if isinstance(decl, ast.QueryDecl | ast.MutationDecl):
            clauses = (clause for clause in decl.clauses if isinstance(clause, ast.ArgsClause))
            first = next(clauses, None)
            check.args[declared] = read_args(check.report, first.fields if first else (), "arg")
        elif isinstance(decl, ast.LogicDecl | ast.PolicyDecl):
            check.args[declared] = read_args(check.report, decl.args, "arg")
        elif isinstance(decl, ast.AutomationDecl):
            check.args[declared] = None if decl.args is None else read_args(check.report, decl.args, "arg")
        elif isinstance(decl, ast.BuiltinDecl):
            check.args[declared] = read_args(check.report, decl.fields, "builtin field")
        elif isinstance(decl, ast.PromptDecl):
            check.args[declared] = read_args(check.report, decl.fields, "prompt field")
        elif isinstance(decl, ast.ToolDecl):
            check.args[declared] = read_args(check.report, decl.fields, "tool field")
        if isinstance(decl, ast.QueryDecl | ast.MutationDecl | ast.SeedDecl):
            _bind(check, declared, decl.concept)


def _bind(check: Check, declared: Declared, name: str) -> None:
    found = check.names.find(declared, "concepts", name, declared.span)
    if found is not None:
        check.bound[declared] = check.concepts[found.key]
