"""Builtins, providers and prompts: the typed fronts of host code and models (spec "Construct rules")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from memql.errors import MemqlError
from memql.lang import ast
from memql.lang.catalog import Builtin, Prompt, Provider
from memql.lang.checker.build import common
from memql.lang.checker.check import Check
from memql.lang.checker.policies import find_model
from memql.lang.checker.report import did_you_mean, listing
from memql.lang.checker.tree import Declared
from memql.lang.literals import NOT_LITERAL, literal_value
from memql.lang.templates import parse_template

__all__ = ["read_builtins", "read_prompts", "read_providers", "template_text"]

_EXECUTOR: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_TEXT_PROFILES: Final = ("optionalString", "stringOrObject")
_DEFAULT_MODALITY: Final = "chat"


# --- builtins --------------------------------------------------------------------------------------------------------


def read_builtins(check: Check) -> dict[str, Builtin]:
    """Check and build every builtin."""
    return {declared.key: _builtin(check, declared) for declared in check.tree.of_kind("builtin")}


def _builtin(check: Check, declared: Declared) -> Builtin:
    marks = declared.marks
    args = marks.values("args")
    profile = args.get("profile", "object")
    _check_executor(check, declared)
    _check_profile(check, declared, profile, args.get("stringKey", ""))
    return Builtin(
        **common(check, declared),
        executor=marks.text("executor"),
        fields=check.args[declared] or (),
        profile=profile,
        string_key=args.get("stringKey", ""),
        additional_properties=args.get("additionalProperties", False),
        aliases=tuple(alias.text() for alias in marks.all("alias")),
    )


def _check_executor(check: Check, declared: Declared) -> None:
    mark, name = declared.marks.get("executor"), declared.marks.text("executor")
    if mark is None:
        check.report.error(
            "bad-executor", declared.span, f'{declared.name} has no executor: add @executor("area.name")'
        )
    elif not mark.problems and not _EXECUTOR.fullmatch(name):
        check.report.error("bad-executor", mark.span, f"{name!r} is no executor name: words joined by dots")
    elif not mark.problems and check.executors is not None and name not in check.executors:
        hint = did_you_mean(name, check.executors) or f"; registered: {listing(sorted(check.executors))}"
        check.report.error("bad-executor", mark.span, f"no executor {name!r} is registered{hint}")


def _check_profile(check: Check, declared: Declared, profile: str, key: str) -> None:
    mark = declared.marks.get("args")
    if mark is None or mark.problems:
        return
    fields = [spec.name for spec in check.args[declared] or ()]
    if profile in _TEXT_PROFILES and key not in fields:
        check.report.error(
            "bad-annotation", mark.span,
            f"@args: the profile {profile} needs stringKey, one of the fields: {listing(fields)}",
        )  # fmt: skip
    elif profile not in _TEXT_PROFILES and key:
        check.report.error(
            "bad-annotation", mark.span, f"@args: the profile {profile} takes no text, so it has no stringKey"
        )
    elif profile == "none" and fields:
        check.report.error(
            "bad-annotation", mark.span, f"@args: the profile none takes nothing, yet there are: {listing(fields)}"
        )


# --- providers -------------------------------------------------------------------------------------------------------


def read_providers(check: Check) -> dict[str, Provider]:
    """Check and build every provider, its base merged in."""
    providers = check.tree.of_kind("provider")
    bases = {declared: _base_of(check, declared) for declared in providers}
    for declared, base in bases.items():
        declared.switched_off = base is not None and not base.enabled
    built = {declared.key: _provider(check, declared, bases[declared]) for declared in providers}
    _refuse_second_default(check, providers, built)
    return built


def _base_of(check: Check, declared: Declared) -> Declared | None:
    mark = declared.marks.get("extends")
    if mark is None or mark.problems:
        return None
    name = mark.text()
    if not check.tree.named("providers", name) and name not in declared.file.imports:
        if name not in check.tree.lost:
            bases = [one.name for one in check.tree.of_kind("provider") if one.marks.has("base")]
            hint = did_you_mean(name, bases) or f"; bases: {listing(bases)}"
            check.report.error("bad-provider", mark.span, f"there is no base {name!r}{hint}")
        return None
    found = check.names.find(declared, "providers", name, mark.span)
    if found is not None and not found.marks.has("base"):
        check.report.error("bad-provider", mark.span, f"{name} is no base; mark it with @base to extend it")
        return None
    return found


def _provider(check: Check, declared: Declared, base: Declared | None) -> Provider:
    marks = declared.marks
    is_base = marks.has("base")
    kind = marks.text("type") or (base.marks.text("type") if base else "")
    if not kind and not (marks.has("extends") and base is None):
        check.report.error(
            "bad-provider",
            declared.span,
            f'{declared.name} has no type: add @type("Vendor"), or @extends a base that has one',
        )
    for name in ("model", "default", "extends"):
        mark = marks.get(name)
        if is_base and mark is not None:
            check.report.error(
                "bad-provider", mark.span, f"a base cannot be called, so it has no @{name}; leave it out"
            )
    return Provider(
        **common(check, declared),
        base=is_base,
        extends=base.key if base else "",
        type=kind,
        model=marks.text("model"),
        modality=marks.text("modality") or (base.marks.text("modality") if base else "") or _DEFAULT_MODALITY,
        default=marks.has("default"),
        auth={**(_auth(check, base) if base else {}), **_auth(check, declared)},
        params={**(_params(check, base) if base else {}), **_params(check, declared)},
    )


def _auth(check: Check, declared: Declared) -> dict[str, str | ast.EnvRef]:
    assert isinstance(declared.decl, ast.ProviderDecl)
    return _entries(check, declared, declared.decl.auth)


def _params(check: Check, declared: Declared) -> dict[str, Any]:
    assert isinstance(declared.decl, ast.ProviderDecl)
    params = {}
    for name, expr in _entries(check, declared, declared.decl.params).items():
        value = literal_value(expr)
        if value is NOT_LITERAL:
            check.report.error("bad-provider", expr.span, f"the parameter {name!r} must be a literal")
        params[name] = value
    return params


def _entries(check: Check, declared: Declared, entries: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in entries:
        if name in found:
            span = getattr(value, "span", declared.span)
            check.report.error("duplicate-field", span, f"{name!r} stands twice in {declared.name}; keep one")
        found[name] = value
    return found


def _refuse_second_default(check: Check, providers: list[Declared], built: Mapping[str, Provider]) -> None:
    first: dict[str, Declared] = {}
    for declared in providers:
        provider = built[declared.key]
        if not provider.default or provider.base or not declared.enabled:
            continue
        other = first.setdefault(provider.modality, declared)
        if other is not declared:
            mark = declared.marks.get("default")
            check.report.error(
                "duplicate-default", mark.span if mark else declared.span,
                f"{other.name} is already the default for {provider.modality}; keep @default on one of them",
            )  # fmt: skip


# --- prompts ---------------------------------------------------------------------------------------------------------


def read_prompts(check: Check) -> dict[str, Prompt]:
    """Check and build every prompt."""
    return {declared.key: _prompt(check, declared) for declared in check.tree.of_kind("prompt")}


def _prompt(check: Check, declared: Declared) -> Prompt:
    mark = declared.marks.get("defaultProvider")
    provider = find_model(check, declared, mark.text(), mark.span, "unresolved") if mark and not mark.problems else ""
    text = template_text(check, declared)
    if text is None and not declared.marks.has("templateFile"):
        check.report.error(
            "bad-template", declared.span, f'{declared.name} has no template: add @templateFile("prompts/name.tmpl")'
        )
    _check_template(check, declared, text or "")
    return Prompt(**common(check, declared), fields=check.args[declared] or (), provider=provider, template=text or "")


def template_text(check: Check, declared: Declared) -> str | None:
    """The text of ``@templateFile``, or None when there is no annotation or, after reporting it, no file."""
    mark = declared.marks.get("templateFile")
    if mark is None or mark.problems:
        return None
    path = f"{declared.file.directory}/{mark.text()}" if declared.file.directory else mark.text()
    text = check.templates.get(path)
    if text is None:
        hint = did_you_mean(path, check.templates) or f"; templates: {listing(sorted(check.templates))}"
        check.report.error("bad-template", mark.span, f"there is no file {path}{hint}")
    return text


def _check_template(check: Check, declared: Declared, text: str) -> None:
    mark = declared.marks.get("templateFile")
    if mark is None:
        return
    try:
        used = parse_template(text).fields()
    except MemqlError as error:
        check.report.error("bad-template", mark.span, f"{mark.text()}: {error.message}")
        return
    known = [spec.name for spec in check.args[declared] or ()]
    for name in sorted(used - set(known)):
        hint = did_you_mean(name, known) or f"; it has: {listing(known)}"
        check.report.error("bad-template", mark.span, f"{mark.text()}: {declared.name} has no field {name!r}{hint}")
