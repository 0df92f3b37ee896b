"""What a name means where it stands, and the references between constructs (spec "Resolution and layers")."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from memql.ids import CONCEPT_ID
from memql.lang import ast
from memql.lang.catalog import Kind
from memql.lang.checker.report import Report, did_you_mean, listing
from memql.lang.checker.tree import MODULES, SPACES, Declared, Edge, Space, Tree

__all__ = ["Names", "reference_problem"]

_SHARED_NAMESPACE = "common"
_WANTED = {
    "concepts": "a concept", "shapes": "a shape", "predicates": "a spec or trait",
    "calls": "a query, mutation, logic or builtin", "automations": "an automation", "prompts": "a prompt",
    "providers": "a provider", "policies": "a policy", "tools": "a tool", "seeds": "a seed",
}  # fmt: skip
_CALLABLES = frozenset({"query", "mutation", "logic", "builtin"})


class Names:
    """Resolves names for constructs, noting each reference on the construct that makes it."""

    def __init__(self, tree: Tree, report: Report) -> None:
        self.tree = tree
        self.report = report

    def find(
        self,
        owner: Declared,
        space: Space,
        name: str,
        span: ast.Span,
        *,
        kinds: Collection[Kind] | None = None,
        ordered: bool = True,
        local: str | None = None,
    ) -> Declared | None:
        """The construct a name means inside ``owner``, or None after reporting why there is none.

        :param kinds: which kinds of the space will do; all unless given.
        :param ordered: whether the reference obeys the layers.
        :param local: the name to enter in the construct's scope, when it is not ``name`` itself.
        """
        group = self._visible(owner, space, name, span, (name,))
        return self._settle(owner, space, name, span, group, kinds, ordered, local or name)

    def find_call(self, owner: Declared, kind: Kind, name: str, span: ast.Span) -> Declared | None:
        """The target of a step: ``logic foo`` is ``foo`` or ``logicFoo``, queries and mutations alike."""
        prefixed = kind + name[:1].upper() + name[1:]
        space = SPACES[kind]
        spellings = (name, prefixed) if kind in ("logic", "query", "mutation") else (name,)
        hits = [spelling for spelling in spellings if any(d.kind == kind for d in self.tree.named(space, spelling))]
        if len(hits) > 1:
            self.report.error("ambiguous", span, f"{kind} {name} may be {name} or {prefixed}; write the whole name")
            return None
        spelling = hits[0] if hits else name
        group = self._visible(owner, space, spelling, span, spellings)
        return self._settle(owner, space, spelling, span, group, (kind,), True, name)

    def find_concept(self, owner: Declared, text: str, span: ast.Span, *, ordered: bool = True) -> Declared | None:
        """A concept by id, by ``namespace.name`` or by name."""
        if CONCEPT_ID.fullmatch(text):
            declared = self.tree.concept(text)
            if declared is not None:
                self._note(owner, declared, span, ordered)
                return declared
            self._unresolved(span, text, f"no concept has the id {text}{did_you_mean(text, self.tree.concept_ids)}")
            return None
        namespace, _, name = text.rpartition(".")
        if not namespace:
            return self.find(owner, "concepts", text, span, ordered=ordered)
        group = [
            d
            for d in self.tree.named("concepts", name)
            if namespace in (d.file.directory, d.namespace.replace(":", "."))
        ]
        return self._settle(owner, "concepts", text, span, group, None, ordered, text)

    def _visible(
        self, owner: Declared, space: Space, name: str, span: ast.Span, written: Iterable[str]
    ) -> list[Declared]:
        everywhere = self.tree.named(space, name)
        if mine := [declared for declared in everywhere if declared.file is owner.file]:
            return mine
        for local in written:
            binding = owner.file.imports.get(local)
            if binding and (targets := [target for target in binding.targets if target.space == space]):
                binding.used = True
                return targets
        for namespace in (owner.namespace, owner.file.directory, _SHARED_NAMESPACE):
            if near := [
                declared for declared in everywhere if namespace in (declared.namespace, declared.file.directory)
            ]:
                return near
        if len(everywhere) == 1:
            target = everywhere[0]
            home = target.file.directory or target.namespace.replace(":", ".")
            plural = next(plural for plural, kind in MODULES.items() if kind == target.kind)
            self.report.warn(
                "implicit-import",
                span,
                f"{name!r} is in {target.file.path}; import it: use {home}.{plural}.{{ {name} }}",
            )
        return everywhere

    def _settle(
        self,
        owner: Declared,
        space: Space,
        name: str,
        span: ast.Span,
        group: list[Declared],
        kinds: Collection[Kind] | None,
        ordered: bool,
        local: str,
    ) -> Declared | None:
        fitting = [declared for declared in group if kinds is None or declared.kind in kinds]
        if len(fitting) > 1:
            fitting = _by_major(owner, fitting)
        if len(fitting) > 1:
            if any(declared.name in self._duplicates() for declared in fitting):
                return None
            ids = listing(f"{declared.key} ({declared.file.path})" for declared in fitting)
            self.report.error("ambiguous", span, f"{name!r} may be {ids}; import the one you mean")
            return None
        if not fitting:
            self._missing(owner, space, name, span, kinds)
            return None
        target = fitting[0]
        self._note(owner, target, span, ordered)
        owner.names.setdefault(target.space, {})[local] = target.key
        return target

    def _duplicates(self) -> frozenset[str]:
        """Names declared twice outside the concepts: ``duplicate-name`` has told that already."""
        return frozenset(
            declared.name
            for declared in self.tree.declared
            if declared.kind != "concept" and len(self.tree.named(declared.space, declared.name)) > 1
        )

    def _missing(
        self, owner: Declared, space: Space, name: str, span: ast.Span, kinds: Collection[Kind] | None
    ) -> None:
        binding = owner.file.imports.get(name)
        if binding is not None and not binding.targets:
            return  # the import itself is reported
        others = self.tree.anywhere(name)
        wanted = " or ".join(f"a {kind}" for kind in kinds) if kinds else _WANTED[space]
        if others:
            if binding is not None:
                binding.used = True
            problem = reference_problem(owner, others[0])
            if problem:
                self.report.error(problem[0], span, problem[1])
            else:
                self.report.error("wrong-kind", span, f"{name} is a {others[0].role}; {wanted} is needed here")
            return
        self._unresolved(span, name, f"there is no {wanted[2:]} {name!r}{did_you_mean(name, self.tree.names(space))}")

    def _unresolved(self, span: ast.Span, name: str, message: str) -> None:
        if name.rpartition(".")[2] not in self.tree.lost:
            self.report.error("unresolved", span, message)

    def _note(self, owner: Declared, target: Declared, span: ast.Span, ordered: bool) -> None:
        owner.edges.append(Edge(target, span, ordered))


def _by_major(owner: Declared, group: list[Declared]) -> list[Declared]:
    """Of several majors of one concept the one that the construct's or file's ``@version`` names, else the oldest, so
    that a new major beside it changes nothing that exists."""
    if len({(declared.kind, declared.namespace) for declared in group}) > 1 or group[0].kind != "concept":
        return group
    tag = owner.marks.text("version") or owner.file.defaults.text("version")
    wanted = f"v{tag.partition('.')[0]}:"
    named = [declared for declared in group if declared.key.startswith(wanted)]
    return named or [min(group, key=lambda declared: int(declared.key[1:].partition(":")[0]))]


def reference_problem(owner: Declared, target: Declared) -> tuple[str, str] | None:
    """Why ``owner`` may not refer to ``target``: code and message, or None when it may."""
    source, goal = owner.role, target.role
    if goal == "mutation" and source in ("query", "spec", "trait", "routing policy", "decision policy"):
        return "cqs", f"{owner.title} reads and cannot reach {target.title}; write from a logic or an automation"
    if source == "mutation" and goal in _CALLABLES:
        return "cqs", f"{owner.title} is one write and calls nothing; call {target.title} from a logic"
    if target.layer > owner.layer:
        return "layer", f"{owner.title} (layer {owner.layer}) cannot refer up to {target.title} (layer {target.layer})"
    allowed = _ONLY.get(source)
    if allowed is not None and goal not in allowed:
        return "layer", f"a {source} refers only to {listing(sorted(allowed))}, not to {target.title}"
    return None


# A mutation's filter is classified by the specs it names (spec "Four classes"), so predicates are open to it.
_ONLY = {
    "mutation": frozenset({"concept", "spec", "trait"}),
    "builtin": frozenset({"concept"}),
    "seed": frozenset({"concept"}),
    "routing policy": frozenset({"provider", "routing policy"}),
    "prompt": frozenset({"provider", "routing policy"}),
    "decision policy": frozenset({"concept", "spec", "decision policy", "query"}),
    "tool": frozenset({"concept", "shape", "spec", "trait", "query", "mutation", "builtin", "logic", "automation"}),
}
