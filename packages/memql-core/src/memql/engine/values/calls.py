"""Calls: accessors, functions that read the environment or are lazy, effects, and constructs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from memql.engine.values import roots
from memql.engine.values.code import Code, choose, constant, first_given, strict
from memql.engine.values.env import Env, Invocation, Invoke
from memql.engine.values.functions import PURE, canonical_id
from memql.engine.values.results import ACCESSORS
from memql.engine.values.text import is_blank
from memql.errors import Code as ErrorCode
from memql.errors import MemqlError
from memql.ids import derived_id, new_id
from memql.lang import ast
from memql.lang.functions import FUNCTIONS

if TYPE_CHECKING:
    from memql.engine.values.compiler import Compiler

__all__ = ["compile_call"]

_PLACES: Final = {"filter": frozenset("FW"), "write": frozenset("W"), "logic": frozenset("WL")}
"""Where functions may stand, by mode: the places of the function table. Arguments of calls around filters are
compiled as filter values, hence their W."""
_WHERE: Final = {"filter": "in a filter", "write": "in a write block or an argument", "logic": "in a body"}


def compile_call(compiler: Compiler, call: ast.Call) -> Code:
    """The code of a call.

    :raises MemqlError: ``UNKNOWN_FUNCTION`` when nothing of that name can be called here,
        ``INVALID_ARGUMENT`` when the number or form of the arguments is wrong.
    """
    callee = call.callee
    if isinstance(callee, ast.Member):
        return _accessor(compiler, callee, call)
    if not isinstance(callee, ast.Name):
        raise MemqlError(ErrorCode.UNKNOWN_FUNCTION, "only names and accessors such as x.First() can be called")
    name = callee.name
    function = FUNCTIONS.get(name)
    if function is None:
        return _construct(compiler, name, call)
    if _PLACES[compiler.mode].isdisjoint(function.places):
        code = ErrorCode.SYNTAX_ERROR if name == "si" else ErrorCode.INVALID_ARGUMENT
        raise MemqlError(code, f"{name}(..) cannot stand {_WHERE[compiler.mode]}", position=call.span.start)
    if call.named or not function.accepts(len(call.args)):
        given = "named arguments" if call.named else f"{len(call.args)} arguments"
        raise MemqlError(ErrorCode.INVALID_ARGUMENT, f"{name} is called as {function.signature}, got {given}")
    if special := _SPECIAL.get(name):
        return special(compiler, call)
    parts = [compiler.compile(arg) for arg in call.args]
    return strict(compiler.forgiving(PURE[name], parts), *parts)


def _text_argument(name: str, call: ast.Call) -> str:
    argument = call.args[0] if call.args else None
    if isinstance(argument, ast.Literal) and isinstance(argument.value, str):
        return argument.value
    raise MemqlError(ErrorCode.INVALID_ARGUMENT, f'{name} takes a literal name, as in {name}("someName")')


def _accessor(compiler: Compiler, callee: ast.Member, call: ast.Call) -> Code:
    operation = ACCESSORS.get(str(callee.name))
    if operation is None:
        raise MemqlError(
            ErrorCode.UNKNOWN_FUNCTION,
            f".{callee.name}(..) is no accessor; the accessors are "
            ".Nodes() .First() .Last() .Len() .Count() .Empty() .Ran()",
        )
    if call.args or call.named:
        raise MemqlError(ErrorCode.INVALID_ARGUMENT, f".{callee.name}() takes no arguments")
    base = callee.base
    if isinstance(base, ast.Name) and base.name not in ("args", "actor", "now", "payload"):
        return strict(operation, roots.raw_binding_code(base.name))
    return strict(operation, compiler.compile(base))


# --- functions of the environment ---------------------------------------------------------------------------


def _now(compiler: Compiler, call: ast.Call) -> Code:
    return Code(lambda env: env.now)


def _coalesce(compiler: Compiler, call: ast.Call) -> Code:
    return first_given([compiler.compile(arg) for arg in call.args])


def _cond(compiler: Compiler, call: ast.Call) -> Code:
    test, then, otherwise = call.args
    return choose(compiler.condition(test), compiler.compile(then), compiler.compile(otherwise))


def _canonical_id(compiler: Compiler, call: ast.Call) -> Code:
    value, concept = call.args
    part = compiler.compile(value)
    match concept:
        case ast.ConceptRef(id=name) | ast.Name(name=name):
            key = _concept_key(compiler, name)
        case ast.Literal(value=str() as name):
            key = _concept_key(compiler, name)
        case _:
            return strict(lambda v, c: canonical_id(v, _concept_key(compiler, c)), part, compiler.compile(concept))
    return strict(lambda v: canonical_id(v, key), part)


def _concept_key(compiler: Compiler, name: Any) -> str:
    key = compiler.scope.concepts.get(name, name) if isinstance(name, str) else ""
    if key in compiler.catalog.concepts:
        return key
    raise MemqlError(ErrorCode.UNKNOWN_CONCEPT, f"canonicalId: {name!r} is no concept here; import it or give its id")


def _new_id(compiler: Compiler, call: ast.Call) -> Code:
    return Code(_next_id)


def _next_id(env: Env) -> str:
    if env.ids is None:
        return new_id()
    env.ids.count += 1
    return derived_id(*env.ids.path, str(env.ids.count))


def _variable(system_only: bool) -> Callable[[Compiler, ast.Call], Code]:
    name = "systemVar" if system_only else "var"

    def compile_variable(compiler: Compiler, call: ast.Call) -> Code:
        compiler.needs_tables = True
        wanted = compiler.compile(call.args[0])
        otherwise = compiler.compile(call.args[1]) if len(call.args) > 1 else None
        found = _with_env(lambda env, key: _lookup_variable(env, key, system_only), wanted)
        if otherwise is None:
            return _with_env(lambda env, pair: _require(name, *pair), _pair(wanted, found))
        return strict(lambda value, default: default if value is None else value, found, otherwise)

    return compile_variable


def _secret(system_only: bool) -> Callable[[Compiler, ast.Call], Code]:
    name = "systemSecret" if system_only else "secret"

    def compile_secret(compiler: Compiler, call: ast.Call) -> Code:
        if not compiler.allow_secrets:
            raise MemqlError(ErrorCode.INVALID_ARGUMENT, f"{name}(..) may stand only in the argument of a builtin")
        compiler.needs_tables = True
        wanted = compiler.compile(call.args[0])
        found = _with_env(lambda env, key: _lookup_secret(env, key, system_only), wanted)
        return _with_env(lambda env, pair: _require(name, *pair), _pair(wanted, found))

    return compile_secret


def _pair(left: Code, right: Code) -> Code:
    return strict(lambda a, b: (a, b), left, right)


def _with_env(operation: Callable[[Env, Any], Any], part: Code) -> Code:
    """``operation`` on the environment and the value of a part without effects."""
    run = part.run
    if run is None:
        raise MemqlError(ErrorCode.INVALID_ARGUMENT, "the name of a variable or secret cannot be the result of a call")
    return Code(lambda env: operation(env, run(env)))


def _lookup_variable(env: Env, name: Any, system_only: bool) -> str | None:
    assert env.tables is not None, "needs_tables was not heeded"
    return env.tables.variable(str(name), system_only=system_only)


def _lookup_secret(env: Env, name: Any, system_only: bool) -> str | None:
    assert env.tables is not None, "needs_tables was not heeded"
    return env.tables.secret(str(name), system_only=system_only)


def _require(function: str, name: Any, value: str | None) -> str:
    if value is not None:
        return value
    kind = "secret" if function in ("secret", "systemSecret") else "variable"
    raise MemqlError(ErrorCode.NOT_FOUND, f"{function}({name!r}): there is no active {kind} of that name")


# --- effects ------------------------------------------------------------------------------------------------


def _effect(make: Callable[..., Invocation], *parts: Code) -> Code:
    """A call of the host with the values of the parts."""

    async def run_async(env: Env, invoke: Invoke) -> Any:
        return await invoke(make(*[await part.value(env, invoke) for part in parts]))

    return Code(None, run_async)


def _spec(compiler: Compiler, call: ast.Call) -> Code:
    name = _text_argument("spec", call)
    key = compiler.scope.predicates.get(name, name)
    spec = compiler.catalog.specs.get(key)
    if spec is None or not spec.is_context:
        raise MemqlError(ErrorCode.INVALID_ARGUMENT, f"spec({name!r}): there is no context spec of that name")
    return compiler.predicate(key)


def _policy(compiler: Compiler, call: ast.Call) -> Code:
    name = _text_argument("policy", call)
    key = compiler.scope.policies.get(name, name)
    args = compiler.compile(call.args[1]) if len(call.args) > 1 else constant({})
    return _effect(lambda value: Invocation("policy", key, value), args)


def _si(compiler: Compiler, call: ast.Call) -> Code:
    name = _text_argument("si", call)
    key = compiler.scope.prompts.get(name, name)
    rest = [compiler.compile(arg) for arg in call.args[1:]]
    parts = [*rest, *[constant(None)] * (3 - len(rest))]

    def invocation(fields: Any, provider: Any, ttl: Any) -> Invocation:
        return Invocation("si", key, {"fields": fields or {}, "provider": provider, "ttl": ttl})

    return _effect(invocation, *parts)


def _publish_event(compiler: Compiler, call: ast.Call) -> Code:
    return _effect(_publication, _argument(compiler, "publishEvent", call))


def _publication(value: Any) -> Invocation:
    topic = value.get("topic") if isinstance(value, Mapping) else None
    if not isinstance(topic, str) or is_blank(topic):
        raise MemqlError(
            ErrorCode.INVALID_ARGUMENT,
            'publishEvent takes {topic: "..", payload: {..}} with a topic that is text',
        )
    return Invocation("publishEvent", "", value)


def _argument(compiler: Compiler, name: str, call: ast.Call) -> Code:
    """The one argument of a construct: an object, named arguments, one value, or nothing."""
    if call.named:
        return compiler.compile(ast.ObjectExpr(call.named, span=call.span))
    if len(call.args) > 1:
        raise MemqlError(ErrorCode.INVALID_ARGUMENT, f"{name} takes one object or named arguments")
    return compiler.compile(call.args[0]) if call.args else strict(dict)


def _construct(compiler: Compiler, name: str, call: ast.Call) -> Code:
    key = compiler.scope.calls.get(name, name)
    target = compiler.catalog.callable(key)
    if target is None:
        raise MemqlError(ErrorCode.UNKNOWN_FUNCTION, f"{name} is neither a function nor a construct that can be called")
    if compiler.mode != "logic":
        raise MemqlError(ErrorCode.INVALID_ARGUMENT, f"{name}(..) can be called only in bodies and steps")
    if target.key in compiler.catalog.builtins:
        with compiler.secrets_allowed():
            argument = _argument(compiler, name, call)
    else:
        argument = _argument(compiler, name, call)
    return _effect(lambda value: Invocation("call", target.key, value), argument)


_SPECIAL: Final[Mapping[str, Callable[[Compiler, ast.Call], Code]]] = {
    "now": _now,
    "timestamp": _now,
    "coalesce": _coalesce,
    "cond": _cond,
    "canonicalId": _canonical_id,
    "newId": _new_id,
    "var": _variable(system_only=False),
    "systemVar": _variable(system_only=True),
    "secret": _secret(system_only=False),
    "systemSecret": _secret(system_only=True),
    "spec": _spec,
    "policy": _policy,
    "si": _si,
    "publishEvent": _publish_event,
}
