"""Files and declarations as lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from memql.lang import ast
from memql.lang._flat import annotation_text, expr_text, filter_text, key_text, member_texts, quote, type_text
from memql.lang._format_statements import block_item
from memql.lang._layout import INDENT, WIDTH, Item, Layout, flat_block

__all__ = ["declaration_item", "file_text"]

Lines = list[str]


def file_text(layout: Layout, file: ast.File) -> str:
    """The whole file, ended by a line break unless it is empty."""
    items: list[Item] = []
    if file.annotations:
        first, last = file.annotations[0].span, file.annotations[-1].span
        items.append(Item(_cover(first, last), None, lambda indent: _annotations(layout, file.annotations, indent)))
    items += [_use_item(use) for use in file.uses]
    items += [declaration_item(layout, decl) for decl in file.decls]
    lines = layout.items(items, 0, layout.end, airy=True)
    return "\n".join(lines) + "\n" if lines else ""


def declaration_item(layout: Layout, decl: ast.Decl) -> Item:
    """A declaration with its documentation and annotations."""
    head, items = _construct(layout, decl)
    return Item(decl.span, None, partial(_declaration, layout, decl, head, items))


def _declaration(layout: Layout, decl: ast.Decl, head: str, items: Sequence[Item], indent: int) -> Lines:
    first = decl.annotations[0].span.end if decl.annotations else decl.name_span.start
    above = layout.leading(first, indent)[0] + _doc_lines(decl.doc, indent)
    notes = _annotations(layout, decl.annotations, indent)
    comments, _ = layout.leading(decl.name_span.start, indent)
    body = layout.block(head, items, decl.span, decl.name_span.start, indent)
    if len(notes) == 1 and not comments and (len(body) == 1 or layout.has_text):
        together = f"{notes[0]} {body[0].lstrip()}"
        if len(together) <= WIDTH and not layout.was_broken(decl.annotations[-1].span.end, decl.name_span.start):
            return [*above, together, *body[1:]]
    return above + notes + comments + body


def _construct(layout: Layout, decl: ast.Decl) -> tuple[str, list[Item]]:
    """What stands before the brace, and what stands inside."""
    match decl:
        case ast.ConceptDecl():
            return f"concept {decl.name}", _concept_items(layout, decl)
        case ast.ShapeDecl(concept=concept):
            head = f"shape {concept} {decl.name}" if concept else f"shape {decl.name}"
            return head, [_line(item.span, _shape_text(item)) for item in decl.items]
        case ast.SpecDecl():
            return f"spec {decl.name}", [_filter_item(layout, decl.filter, decl.filter.span, "", "&&")]
        case ast.TraitDecl():
            return f"trait {decl.name}", [_filter_item(layout, decl.filter, decl.filter.span, "", "&&")]
        case ast.QueryDecl():
            return f"query {decl.concept} {decl.name}", [_clause_item(layout, clause) for clause in decl.clauses]
        case ast.MutationDecl():
            parts = [_clause_item(layout, clause) for clause in decl.clauses]
            parts += [_write_item(layout, write) for write in decl.writes]
            return f"mutation {decl.concept} {decl.name}", _in_order(parts)
        case ast.LogicDecl():
            parts = _args_items(layout, decl.args, decl.args_span) if decl.args else []
            return f"logic {decl.name}", [*parts, block_item(layout, "body", decl.body)]
        case ast.AutomationDecl():
            parts = [] if decl.args is None else _args_items(layout, decl.args, decl.args_span)
            return f"automation {decl.name}", parts + [_step_item(layout, step) for step in decl.steps]
        case ast.BuiltinDecl():
            return f"builtin {decl.name}", _field_items(layout, decl.fields)
        case ast.PromptDecl():
            return f"prompt {decl.name}", _field_items(layout, decl.fields)
        case ast.ToolDecl():
            return f"tool {decl.name}", _field_items(layout, decl.fields)
        case ast.ProviderDecl():
            return f"provider {decl.name}", _provider_items(layout, decl)
        case ast.PolicyDecl():
            return f"policy {decl.name}", _policy_items(layout, decl)
        case ast.SeedDecl():
            return f"seed {decl.concept} {decl.name}", [_seed_item(layout, e) for e in decl.body.entries]


# --- small parts -----------------------------------------------------------------------------------------------------


def _line(span: ast.Span, text: str) -> Item:
    return Item(span, text, lambda indent: [" " * indent + text])


def _cover(first: ast.Span, last: ast.Span) -> ast.Span:
    return replace(first, end_line=last.end_line, end_column=last.end_column, end=last.end)


def _in_order(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: item.span.start)


def _doc_lines(doc: str | None, indent: int) -> Lines:
    if doc is None:
        return []
    return [" " * indent + f"/// {line}".rstrip() for line in doc.split("\n")]


def _annotations(
    layout: Layout, annotations: Sequence[ast.Annotation], indent: int, first: str = "", after: int = 0
) -> Lines:
    """Annotations side by side, behind ``first`` (which ends at ``after``); a new line where the author began one or
    the line is full."""
    lines: Lines = [" " * indent + first] if first else []
    for annotation in annotations:
        comments, _ = layout.leading(annotation.span.end, indent)
        text = annotation_text(annotation)
        fits = lines and len(lines[-1]) + 1 + len(text) <= WIDTH
        if fits and not comments and not layout.was_broken(after, annotation.span.start):
            lines[-1] += f" {text}"
        else:
            lines += [*comments, " " * indent + text]
        after = annotation.span.end
    return lines


def _use_item(use: ast.Use) -> Item:
    symbols = [f"{symbol.name} as {symbol.alias}" if symbol.alias else symbol.name for symbol in use.symbols]
    head = f"use {'.'.join(use.module)}."
    flat = f"{head}{{ {', '.join(symbols)} }}"
    if len(flat) <= WIDTH:
        return _line(use.span, flat)
    lines = [f"{head}{{", *(" " * INDENT + f"{symbol}," for symbol in symbols), "}"]
    return Item(use.span, None, lambda indent: list(lines))


# --- fields and arguments --------------------------------------------------------------------------------------------


def _concept_items(layout: Layout, decl: ast.ConceptDecl) -> list[Item]:
    notes = [_line(note.span, annotation_text(note)) for note in decl.body_annotations]
    return _in_order([*notes, *_field_items(layout, decl.fields)])


def _field_items(layout: Layout, fields: Sequence[ast.FieldDecl]) -> list[Item]:
    return [
        Item(
            field.span,
            None if field.doc is not None else _flat_field(layout, field),
            partial(_field_lines, layout, field),
        )
        for field in fields
    ]


def _field_head(field: ast.FieldDecl) -> str:
    if field.type is None:
        return field.name
    return f"{field.name} {type_text(field.type)}{'!' if field.required else ''}"


def _flat_field(layout: Layout, field: ast.FieldDecl) -> str | None:
    head = " ".join([_field_head(field), *map(annotation_text, field.annotations)])
    return head if field.fields is None else flat_block(head, _field_items(layout, field.fields))


def _field_lines(layout: Layout, field: ast.FieldDecl, indent: int) -> Lines:
    docs = _doc_lines(field.doc, indent)
    begin = field.type.span.end if field.type else field.span.start
    *notes, last = _annotations(layout, field.annotations, indent, _field_head(field), begin)
    if field.fields is None:
        return [*docs, *notes, last]
    if field.annotations:
        begin = field.annotations[-1].span.end
    inner = _field_items(layout, field.fields)
    return [*docs, *notes, *layout.block(last.lstrip(), inner, field.span, begin, indent)]


def _args_items(layout: Layout, fields: Sequence[ast.FieldDecl], span: ast.Span) -> list[Item]:
    return [_block_item(layout, "args", _field_items(layout, fields), span)]


def _block_item(layout: Layout, head: str, items: Sequence[Item], span: ast.Span) -> Item:
    flat = flat_block(head, items)
    return Item(span, flat, lambda indent: layout.block(head, items, span, span.start, indent))


# --- shapes, filters, clauses, writes --------------------------------------------------------------------------------


def _shape_text(item: ast.ShapePath | ast.ShapeInclude) -> str:
    match item:
        case ast.ShapeInclude(name=name):
            return f"include {name}"
        case ast.ShapePath(path=path, alias=alias):
            return ".".join(path) + (f" as {alias}" if alias else "")


def _filter_item(layout: Layout, expr: ast.Expr, span: ast.Span, prefix: str, sign: str) -> Item:
    return Item(span, prefix + filter_text(expr, sign), partial(_filter_lines, layout, expr, prefix, sign))


def _filter_lines(layout: Layout, expr: ast.Expr, prefix: str, sign: str, indent: int) -> Lines:
    """A filter on one line, or one term of its top level per line, aligned below the first."""
    flat = " " * indent + prefix + filter_text(expr, sign)
    if not isinstance(expr, ast.BoolOp):
        return [flat]
    spans = [item.span for item in expr.items]
    split = layout.has_comments(expr.span) or layout.was_broken(spans[0].end, spans[-1].start)
    if not split and len(flat) <= WIDTH:
        return [flat]
    align = indent + len(prefix)
    texts = member_texts(expr, in_filter=True)
    behind = ";" if expr.op == "&&" and sign == ";" else ""
    out, _ = layout.leading(spans[0].start, indent)
    for index, (span, text) in enumerate(zip(spans, texts, strict=True)):
        comments, _ = layout.leading(span.start, align)
        lead = " " * indent + prefix if index == 0 else " " * align + ("" if behind else f"{expr.op} ")
        out += [*comments, lead + text + (behind if index + 1 < len(texts) else "")]
        out[-1] += layout.place(span.end)
    return out


def _clause_item(layout: Layout, clause: ast.Clause) -> Item:
    match clause:
        case ast.ArgsClause(fields=fields):
            return _block_item(layout, "args", _field_items(layout, fields), clause.span)
        case ast.FilterClause(filter=expr):
            return _filter_item(layout, expr, clause.span, "filter ", ";")
        case ast.ShapeClause(name=name):
            return _line(clause.span, f"shape {name}")
        case ast.SortClause(items=items):
            return _line(clause.span, f"sort {', '.join(map(quote, items))}")
        case ast.PaginateClause(limit=limit):
            return _line(clause.span, f"paginate {expr_text(limit)}")
        case ast.AsOfClause(at=at):
            return _line(clause.span, f"asOf {expr_text(at) if at else 'latest'}")
        case ast.CountClause():
            return _line(clause.span, "count")


def _write_item(layout: Layout, write: ast.Write) -> Item:
    head = f"{write.kind} {write.concept}" if write.concept else write.kind
    return _block_item(layout, head, [_entry_item(layout, entry) for entry in write.entries], write.span)


def _entry_item(layout: Layout, entry: ast.WriteEntry) -> Item:
    if entry.shorthand:
        return _line(entry.span, expr_text(entry.value))
    return _value_item(layout, f"{key_text(entry.key)}: ", entry.value, entry.span)


def _value_item(layout: Layout, prefix: str, value: ast.Expr, span: ast.Span) -> Item:
    return Item(span, prefix + expr_text(value), lambda indent: layout.expr(value, indent, prefix))


# --- steps, providers, policies, seeds -------------------------------------------------------------------------------


def _step_item(layout: Layout, step: ast.Step) -> Item:
    action = step.action
    prefix = f"{action.kind} {action.target} " if action.target else f"{action.kind} "
    item = _value_item(layout, prefix, action.argument, action.span)
    if step.test is not None:
        inner = replace(step.span, start=step.test.span.start, end=max(action.span.end, step.test.span.start))
        item = _block_item(layout, f"if {expr_text(step.test)}", [item], inner)
    return _block_item(layout, f"step {step.name}", [item], step.span)


def _provider_items(layout: Layout, decl: ast.ProviderDecl) -> list[Item]:
    items: list[Item] = []
    if decl.auth:
        auth = [_line(ast.NO_SPAN, f"{key} {_secret_text(value)}") for key, value in decl.auth]
        items.append(_block_item(layout, "auth", auth, decl.auth_span))
    if decl.params:
        params = [_value_item(layout, f"{key} ", value, value.span) for key, value in decl.params]
        items.append(_block_item(layout, "params", params, decl.params_span))
    return _in_order(items)


def _secret_text(value: str | ast.EnvRef) -> str:
    return quote(value) if isinstance(value, str) else f"env({quote(value.name)})"


def _policy_items(layout: Layout, decl: ast.PolicyDecl) -> list[Item]:
    items = _args_items(layout, decl.args, decl.args_span) if decl.args else []
    if decl.returns is not None:
        items.append(_value_item(layout, "return ", decl.returns, decl.returns.span))
    if decl.body is not None:
        items.append(block_item(layout, "body", decl.body))
    return items


def _seed_item(layout: Layout, entry: ast.SeedEntry) -> Item:
    if isinstance(entry.value, ast.SeedBlock):
        inner = [_seed_item(layout, part) for part in entry.value.entries]
        return _block_item(layout, entry.key, inner, entry.span)
    return _value_item(layout, f"{entry.key}: ", entry.value, entry.span)
