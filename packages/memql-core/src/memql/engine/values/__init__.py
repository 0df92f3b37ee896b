"""What expressions mean in process: operators, functions, and expressions compiled to closures."""

from memql.engine.values.arguments import ArgumentBinder, bind_args
from memql.engine.values.closures import Compiled, compile_expr, compile_filter, evaluate_call_argument
from memql.engine.values.env import Env, Invocation, Invoke, ValueTables
from memql.engine.values.instants import parse_instant
from memql.engine.values.operators import equal, truth
from memql.engine.values.results import NOT_RAN, descend, member
from memql.engine.values.static_types import TypeScope, compares_instants, is_instant

__all__ = [
    "NOT_RAN",
    "ArgumentBinder",
    "Compiled",
    "Env",
    "Invocation",
    "Invoke",
    "TypeScope",
    "ValueTables",
    "bind_args",
    "compares_instants",
    "compile_expr",
    "compile_filter",
    "descend",
    "equal",
    "evaluate_call_argument",
    "is_instant",
    "member",
    "parse_instant",
    "truth",
]
