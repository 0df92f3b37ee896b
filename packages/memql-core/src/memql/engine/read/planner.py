"""From a read to a plan: resolve it, then write its SQL on demand for the types its values turn out to have."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, cast

from memql.engine.read import inference, operands
from memql.engine.read.answers import ModelCalls
from memql.engine.read.conditions import Conditions
from memql.engine.read.cursors import CursorCodec, identity_of
from memql.engine.read.directives import Latest, ReadRequest, page_number
from memql.engine.read.links import neighbourhood
from memql.engine.read.ordering import SortKey, after, order_by, sort_keys
from memql.engine.read.params import as_text
from memql.engine.read.place import Place, argument_paths, tree_scope, variable_names
from memql.engine.read.plans import Plan, Statement
from memql.engine.read.projection import Projector, ShapeMember, has_secrets
from memql.engine.read.resolver import Resolver
from memql.engine.read.selection import RowPath, parse_selected
from memql.engine.read.slots import Run, Slot, SlotTable, Tag
from memql.engine.read.surroundings import Expansion, PageSql, relations_of, surround
from memql.engine.read.templates import Part, TemplateResolver
from memql.engine.read.terms import InSet, Selection
from memql.engine.read.writing import Row, Versions, Writing
from memql.engine.values import Env, parse_instant
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog, Query

__all__ = ["Planner"]


@dataclass(frozen=True, slots=True)
class _Page:
    """The slots of a page: its limit, what follows it, whether that is a cursor, and the keys of the cursor."""

    limit: int
    position: int = -1
    is_cursor: int = -1
    keys: tuple[int, ...] = ()


class Planner:
    """Prepares the reads of one catalog."""

    def __init__(self, catalog: Catalog, codec: CursorCodec, max_results: int) -> None:
        self.catalog = catalog
        self.codec = codec
        self.max_results = max_results
        self.marker = f"si:{secrets.token_hex(8)}"
        self._tree_scope = tree_scope(catalog)

    def plan(
        self,
        request: ReadRequest,
        query: Query | None,
        lets: Mapping[str, ast.Expr],
        id_concepts: Mapping[str, str],
    ) -> Plan:
        """Prepare a read.

        :param query: the named query it calls; None for a raw filter.
        :param id_concepts: see :class:`Resolver`.
        :raises MemqlError: ``INVALID_ARGUMENT``, ``UNKNOWN_CONCEPT``, ``RELATIONSHIP_NOT_FOUND``, ``SYNTAX_ERROR``.
        """
        return _Planning(self, request, query, lets, id_concepts).plan()

    def raw_place(self, lets: Mapping[str, ast.Expr]) -> Place:
        """Where raw text stands: it sees the whole tree."""
        return Place(self._tree_scope, lets=lets)


class _Planning:
    """The making of one plan."""

    def __init__(
        self,
        planner: Planner,
        request: ReadRequest,
        query: Query | None,
        lets: Mapping[str, ast.Expr],
        id_concepts: Mapping[str, str],
    ) -> None:
        self.planner = planner
        self.catalog = planner.catalog
        self.request = request
        self.query = query
        self.table = SlotTable()
        self.resolver = Resolver(self.catalog, self.table, id_concepts)
        self._privileged: int | None = None
        self._models: ModelCalls | None = None
        self._select: list[RowPath] | None = None
        if query is None:
            place = planner.raw_place(lets)
        else:
            place = Place(query.scope, frozenset({query.concept}), {spec.name: spec for spec in query.args})
        self.place = replace(place, depth=request.depth or 1)

    def plan(self) -> Plan:
        request = self.request
        selection = self._selection()
        place = self.place.narrowed(selection.concepts)
        versions = self._versions()
        self._projected(selection.concepts)
        if request.count:
            return self._finish(selection, self._count_writer(selection, versions), "count")
        keys = sort_keys(self.resolver, request.sort, place, history=request.history is not None)
        page = self._page(keys)
        projects, kind = self._projections(place)
        # A whole node tells the keys of the default order itself.
        told = kind == "bundle" and self._select is None and not request.sort and request.history is None
        key_columns: Sequence[SortKey] = () if told else keys
        relations, expansion = self._surroundings(selection, kind)
        write = self._row_writer(selection, versions, keys, key_columns, page, projects, relations, expansion)
        plan = self._finish(selection, write, kind)
        plan.surrounded = bool(relations) or expansion is not None
        plan.columns = len(key_columns)
        plan.limit = page.limit
        return plan

    def _finish(self, selection: Selection, write: Callable[[Sequence[Tag]], Statement | None], kind: str) -> Plan:
        resolver = self.resolver
        return Plan(
            slots=tuple(self.table.slots),
            write=write,
            concepts=frozenset(resolver.concepts_read),
            kind=kind,
            needs_tables=resolver.needs_tables,
            reads_secrets=resolver.secret_read,
            identity=self._identity(),
            models=self._models,
            cache_ttl=self._cache_ttl(selection.concepts),
        )

    def _cache_ttl(self, concepts: frozenset[str]) -> float:
        """``@cache`` of the query or the filter, else the shortest of the concepts; 0 when one of them has none."""
        core = self.request.core
        wish = self.query.annotations.cache_ttl if self.query is not None else None
        if isinstance(core, ast.FilterRead) and core.concept_cache is not None:
            wish = float(core.concept_cache)
        if wish is None:
            own = (self.catalog.concepts[key].annotations.cache_ttl or 0.0 for key in concepts)
            wish = min(own, default=0.0)
        return wish

    # --- what is read ----------------------------------------------------------------------------------------------

    def _selection(self) -> Selection:
        core = self.request.core
        if self.query is not None:
            return self.resolver.selection(self.query.filter, self.place)
        assert isinstance(core, ast.FilterRead)
        return self.resolver.selection(core.filter, self.place, default_filters=True)

    def _versions(self) -> Versions:
        request = self.request
        if request.history is not None:
            since, until = (self._moment(bound, "history") for bound in request.history)
            return Versions("history", True, since=since, until=until)
        if request.as_of is None or isinstance(request.as_of, Latest):
            return Versions("latest", request.deleted)
        return Versions("asOf", request.deleted, moment=self._moment(request.as_of, "asOf"))

    def _moment(self, expr: ast.Expr | None, directive: str) -> int | None:
        if expr is None:
            return None
        run = self.resolver.run(expr, self.place)

        def checked(env: Env) -> Any:
            value = run(env)
            if value is None or value == "latest":
                return None
            if isinstance(value, str) and parse_instant(value) is not None:
                return value
            raise MemqlError(
                Code.INVALID_ARGUMENT,
                f"{directive}: {value!r} is not a date-time; expected RFC 3339 such as 2026-03-05T00:00:00Z",
            )

        return self.table.add(Slot(checked, instant=True))

    def _projected(self, concepts: frozenset[str]) -> None:
        """Note that rows of these concepts are returned: whether secrets are shown then matters."""
        if self._privileged is None and has_secrets(self.catalog.concepts, concepts):
            self._privileged = self.table.add(Slot(lambda env: env.actor.has_role("admin")))

    def _projector(self, tags: Sequence[Tag], writing: Writing) -> Projector:
        slot = self._privileged
        return Projector(writing, privileged=slot is None or tags[slot] == "t")

    # --- pages -----------------------------------------------------------------------------------------------------

    def _page(self, keys: Sequence[SortKey]) -> _Page:
        most = self.planner.max_results
        if self.request.page is None:
            return _Page(self.table.add(Slot(lambda env: most + 1)))
        limit_expr, position_expr = self.request.page
        limit_run = self.resolver.run(limit_expr, self.place)

        def limit(env: Env) -> int:
            value = limit_run(env)
            if value is None and self.query is not None:
                return most + 1
            return min(page_number(value, "paginate: the limit", least=1), most) + 1

        limit_slot = self.table.add(Slot(limit))
        if position_expr is None:
            return _Page(limit_slot)
        position_run = self.resolver.run(position_expr, self.place)
        identity, codec = self._identity(), self.planner.codec

        def position(env: Env) -> Any:
            value = position_run(env)
            if value is None or value == "":
                return None
            if isinstance(value, str):
                return codec.decode(value, identity(env), len(keys))
            return page_number(value, "paginate: the offset", least=0)

        position_slot = self.table.add(Slot(position))
        is_cursor = self.table.add(Slot(_is_cursor, frame=position_slot))
        guards = ((is_cursor, True),)
        key_slots = tuple(
            self.table.add(Slot(_key(number), frame=position_slot, guards=guards)) for number in range(len(keys))
        )
        return _Page(limit_slot, position_slot, is_cursor, key_slots)

    def _identity(self) -> Callable[[Env], bytes]:
        """What cursors belong to: the read apart from its page, who asks, and the values it was given."""
        request = replace(self.request, page=None)
        if self.query is not None:
            # The arguments count by value, however the call was written.
            request = replace(request, core=ast.CallRead(ast.Call(ast.Name(self.query.key))))
        source = hashlib.sha256(repr(request).encode()).digest()
        parts = [*self.place.lets.values(), request.as_of, request.shape, *(request.history or ())]
        if isinstance(request.core, ast.FilterRead):
            parts.append(request.core.filter)
        mentioned = [variable_names(part) for part in parts if part is not None and not isinstance(part, Latest)]
        names = sorted(frozenset[str]().union(*mentioned))
        of_page = [part for part in self.request.page or () if part is not None]
        paging = {str(path[0]) for part in of_page for path in argument_paths(part)}

        def identity(env: Env) -> bytes:
            args = {name: value for name, value in env.args.items() if name not in paging}
            variables = [env.variables.get(name) for name in names]
            return identity_of(source, [env.actor.user_id, env.actor.role, args, variables])

        return identity

    # --- what stands around ----------------------------------------------------------------------------------------

    def _surroundings(self, selection: Selection, kind: str) -> tuple[tuple[InSet, ...], Expansion | None]:
        """The relationship functions whose edges are shown, or what ``withDepth`` expands of a plain read."""
        if kind == "data" or self.request.history is not None:
            return (), None
        relations = tuple(relations_of(selection.predicate))
        if relations or self.request.depth is None:
            for relation in relations:
                self._projected(relation.inner.concepts.union(*(each.concepts for each in relation.visible)))
            return relations, None
        links = neighbourhood(self.catalog, selection.concepts, self.request.depth)
        visible = self.resolver.visible(links, self.place)
        self._projected(frozenset[str]().union(*(each.concepts for each in visible)))
        return (), Expansion(links, self.request.depth, visible)

    # --- what is returned ------------------------------------------------------------------------------------------

    def _projections(self, place: Place) -> tuple[tuple[Part, ...], str]:
        request = self.request
        node = self._node_project()
        if request.shape is None:
            return (node,), "bundle"
        data = self._shape_project(request.shape, place)
        return ((node, data), "both") if request.with_bundle else ((data,), "data")

    def _node_project(self) -> Part:
        self._select = self._selected_paths()
        if self._select is not None:
            paths = self._select
            return lambda row, projector, conditions: projector.selected(row, paths)
        # Of ids(x) alone, rows are named, not shown.
        core = self.request.core
        asked = core.filter if isinstance(core, ast.FilterRead) else None
        bare = isinstance(asked, ast.Relation) and asked.function == "ids"
        return lambda row, projector, conditions: projector.node(row, payload=not bare)

    def _selected_paths(self) -> list[RowPath] | None:
        request = self.request
        core = request.core
        fields = core.concept_fields if isinstance(core, ast.FilterRead) else None
        if not request.select and fields is None:
            return None
        place = self.place.narrowed(frozenset(self.resolver.concepts_read))
        paths = [self._selected(text, place) for text in request.select or fields or ()]
        if request.select and fields is not None:
            allowed = [self._selected(text, place) for text in fields]
            paths = [path for path in paths if any(_within(path, other) for other in allowed)]
        return paths

    def _selected(self, text: str, place: Place) -> RowPath:
        root, segments = parse_selected(text)
        operands.row_value(self.resolver, root, segments, place)
        return root, segments

    def _shape_project(self, shape: ast.Expr, place: Place) -> Part:
        if isinstance(shape, ast.Literal) and isinstance(shape.value, str):
            members = self._shape_members(shape.value, place)
            return lambda row, projector, conditions: projector.shape(row, members)
        template = TemplateResolver(self.resolver, self._projected, self.planner.marker)
        part = template.part(shape, place)
        if template.calls:
            self._models = ModelCalls(tuple(template.calls), template.marker)
        return part

    def _shape_members(self, name: str, place: Place) -> list[ShapeMember]:
        key = place.scope.shapes.get(name, name)
        shape = self.catalog.shapes.get(key)
        if shape is None:
            near = get_close_matches(name, self.catalog.shapes, 1)
            raise MemqlError(
                Code.INVALID_ARGUMENT,
                f"no shape is called {name!r}" + (f"; did you mean {near[0]}?" if near else ""),
                suggestion={"didYouMean": near[0]} if near else None,
                context=name,
            )
        members = []
        for item in shape.items:
            first, *rest = item.path
            if first == "actor":
                members.append(ShapeMember(item.key, slot=self._actor_slot(item.path, shape.scope)))
                continue
            root, segments = (rest[0], tuple(rest[1:])) if first == "row" else (first, tuple(rest))
            if root != "partition":
                operands.row_value(self.resolver, root, segments, place)
            members.append(ShapeMember(item.key, root, segments))
        return members

    def _actor_slot(self, path: Sequence[str], scope: Any) -> int:
        expr: ast.Expr = ast.Name(path[0])
        for name in path[1:]:
            expr = ast.Member(expr, name)
        return self.table.add(Slot(self.resolver.run(expr, Place(scope))))

    # --- SQL -------------------------------------------------------------------------------------------------------

    def _count_writer(self, selection: Selection, versions: Versions) -> Callable[[Sequence[Tag]], Statement | None]:
        def write(tags: Sequence[Tag]) -> Statement | None:
            writing = Writing(self.catalog, tags, _effective(versions, tags))
            found = Conditions(writing).where(selection, Row("r", selection.concepts), root=True)
            if found is None:
                return None
            sql = f"SELECT count(*) FROM {found[0]} WHERE {found[1]}"
            return Statement(*writing.params.finish(sql))

        return write

    def _row_writer(
        self,
        selection: Selection,
        versions: Versions,
        keys: Sequence[SortKey],
        key_columns: Sequence[SortKey],
        page: _Page,
        projects: Sequence[Part],
        relations: Sequence[InSet],
        expansion: Expansion | None,
    ) -> Callable[[Sequence[Tag]], Statement | None]:
        most = self.planner.max_results

        def write(tags: Sequence[Tag]) -> Statement | None:
            writing = Writing(self.catalog, tags, _effective(versions, tags))
            conditions = Conditions(writing)
            row = Row("r", selection.concepts)
            found = conditions.where(selection, row, root=True)
            if found is None:
                return None
            projector = self._projector(tags, writing)
            columns = [project(row, projector, conditions) for project in projects]
            columns += [f"{key.sql(row)}::text" for key in key_columns]
            source, where = found
            offset = ""
            if page.position >= 0 and tags[page.is_cursor] == "t":
                where += f" AND {after(keys, page.keys, row, writing)}"
            elif page.position >= 0 and tags[page.position] == "n":
                offset = f" OFFSET {writing.params.add(page.position, as_text, 'bigint')}"
            limit = writing.params.add(page.limit, as_text, "bigint")
            single = writing.versions.mode != "history" and not offset and conditions.finds_one(selection.predicate)
            sql = PageSql(tuple(columns), source, where, order_by(keys, row), limit, offset, single)
            if relations or expansion is not None:
                text = surround(sql, row, conditions, projector, relations, expansion, most)
            else:
                text = sql.plain()
            return Statement(*writing.params.finish(text))

        return write


def _effective(versions: Versions, tags: Sequence[Tag]) -> Versions:
    """The versions with the bounds that were given: an omitted one is none."""
    if versions.mode == "asOf" and versions.moment is not None and tags[versions.moment] == "0":
        return Versions("latest", versions.deleted)
    if versions.mode != "history":
        return versions

    def given(slot: int | None) -> int | None:
        return None if slot is None or tags[slot] == "0" else slot

    return replace(versions, since=given(versions.since), until=given(versions.until))


def _within(path: RowPath, other: RowPath) -> bool:
    mine, theirs = (path[0], *path[1]), (other[0], *other[1])
    return mine[: len(theirs)] == theirs


def _key(number: int) -> Run:
    """The evaluation of one sort key: its frame is the decoded cursor."""
    return lambda keys: cast("list[str | None]", keys)[number]


def _is_cursor(position: Any) -> bool:
    return isinstance(position, list)


def id_concepts_of(catalog: Catalog, request: ReadRequest, variables: Mapping[str, Any]) -> dict[str, str]:
    """The concepts of the ids that the request's variables hold where the filter compares them with ``id``."""
    from memql.ids import parse_id

    core = request.core
    found: dict[str, str] = {}
    if isinstance(core, ast.FilterRead):
        for name in inference.id_variables(core.filter):
            value = variables.get(name)
            if isinstance(value, str):
                concept = parse_id(value, catalog.concepts.__contains__).concept
                if concept in catalog.concepts:
                    found[name] = concept
    return found
