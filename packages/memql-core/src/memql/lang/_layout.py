"""Lines of formatted text: blocks, their items, and the comments that go with them."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from memql.lang import ast
from memql.lang._flat import call_text, expr_text, key_text, member_texts
from memql.lang.lexer import Comment

__all__ = ["INDENT", "WIDTH", "Item", "Layout"]

WIDTH: Final = 110
INDENT: Final = 2
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_SAME_LINE = re.compile(r"[ \t,;]*")

Lines = list[str]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in a block: where it stood, its text when one line is enough, and its lines at an indentation."""

    span: ast.Span
    flat: str | None
    lines: Callable[[int], Lines]


class Layout:
    """Places items and comments; a source without text (a tree that was built, not parsed) has no comments.

    Everything is visited in source order, because comments are handed out once, in order.
    """

    def __init__(self, text: str = "", comments: Sequence[Comment] = ()) -> None:
        self._text = text
        self._comments = comments
        self._starts = [comment.start for comment in comments]
        self._next = 0
        self._last = 0
        self.end: Final = len(text) + 1
        self.has_text: Final = bool(text)

    # --- comments and blank lines ------------------------------------------------------------------------------------

    def has_comments(self, span: ast.Span) -> bool:
        """Whether a comment that is not yet placed stands inside the span."""
        first = max(self._next, bisect_left(self._starts, span.start))
        return first < len(self._starts) and self._starts[first] < span.end

    def was_broken(self, start: int, end: int) -> bool:
        """Whether the author broke the line between two offsets."""
        return "\n" in self._text[start:end]

    def leading(self, upto: int, indent: int) -> tuple[Lines, bool]:
        """The comments before an offset, one per line, and whether a blank line stood before the first."""
        lines: Lines = []
        blank_first = False
        while self._next < len(self._comments) and self._comments[self._next].start < upto:
            comment = self._comments[self._next]
            self._next += 1
            blank = self.gap(comment.start)
            if not lines:
                blank_first = blank
            elif blank:
                lines.append("")
            lines += _comment_lines(comment, indent)
            self._last = comment.end
        return lines, blank_first

    def gap(self, start: int) -> bool:
        """Whether a blank line stood between what was placed last and an offset."""
        return start > self._last and _BLANK_LINE.search(self._text, self._last, start) is not None

    def place(self, end: int) -> str:
        """Record that everything up to ``end`` is placed; the comments behind it on its line, ready to append."""
        tail = ""
        self._last = max(self._last, end)
        while self._next < len(self._comments):
            comment = self._comments[self._next]
            between = _SAME_LINE.match(self._text, end)
            if not between or between.end() != comment.start or "\n" in comment.text:
                break
            tail += "  " + comment.text.rstrip()
            self._next += 1
            self._last = end = comment.end
        return tail

    @property
    def mark(self) -> int:
        """How many comments are placed."""
        return self._next

    def settled(self, body: Lines, mark: int, end: int, indent: int) -> Lines:
        """The lines of something that ends at ``end`` with the comments inside it that found no finer place, and
        those behind it on its line. The order of comments is kept: ``mark`` tells which ``body`` already has."""
        has_some = self._next > mark
        rest, _ = self.leading(end, indent)
        if rest and has_some:
            self._last = max(self._last, end)
            return body + rest
        body[-1] += self.place(end)
        return rest + body

    # --- blocks ------------------------------------------------------------------------------------------------------

    def block(self, head: str, items: Sequence[Item], span: ast.Span, start: int, indent: int) -> Lines:
        """``head { items }``: on one line when it fits and the author did so, else one item per line.

        :param start: where the part after the annotations begins; a line break behind it is the author's choice.
        """
        flat = flat_block(head, items)
        if (
            flat is not None
            and indent + len(flat) <= WIDTH
            and not self.was_broken(start, span.end)
            and not self.has_comments(span)
        ):
            return [" " * indent + flat]
        if not items and not self.has_comments(span):
            return [" " * indent + head + " { }"]
        return [
            " " * indent + head + " {",
            *self.items(items, indent + INDENT, span.end),
            " " * indent + "}",
        ]

    def items(self, items: Sequence[Item], indent: int, end: int, *, airy: bool = False) -> Lines:
        """The items with their comments, one below the other, keeping single blank lines between them.

        :param airy: set a blank line around every item of more than one line.
        """
        out: Lines = []
        before_is_tall = False
        for item in items:
            chunk, blank = self.leading(item.span.start, indent)
            gap = self.gap(item.span.start)
            if chunk and gap:
                chunk.append("")
            elif not chunk:
                blank = gap
            mark = self.mark
            body = item.lines(indent)
            is_tall = airy and len(body) > 1
            if out and (blank or is_tall or before_is_tall):
                out.append("")
            out += chunk + self.settled(body, mark, item.span.end, indent)
            before_is_tall = is_tall
        rest, blank = self.leading(end, indent)
        if out and rest and (blank or before_is_tall):
            out.append("")
        return out + rest

    # --- expressions -------------------------------------------------------------------------------------------------

    def expr(self, expr: ast.Expr, indent: int, prefix: str = "", suffix: str = "") -> Lines:
        """An expression after ``prefix``, broken at its outermost brackets or operators when it does not fit."""
        flat = " " * indent + prefix + expr_text(expr) + suffix
        if not self.must_break(expr) and (len(flat) <= WIDTH or not _can_break(expr)):
            return [flat]
        match expr:
            case ast.ObjectExpr(entries=entries):
                parts = [(f"{key_text(key)}: ", value) for key, value in entries]
                return self._bracketed(prefix + "{", parts, "}" + suffix, indent, expr.span.end)
            case ast.ListExpr(items=items):
                return self._bracketed(
                    prefix + "[", [("", item) for item in items], "]" + suffix, indent, expr.span.end
                )
            case ast.Call(callee=callee, args=(ast.ObjectExpr() | ast.ListExpr() as arg,)):
                return self.expr(arg, indent, f"{prefix}{call_text(callee)}(", ")" + suffix)
            case ast.Call(callee=callee, args=args, named=named):
                parts = [("", arg) for arg in args] + [(f"{key_text(key)}: ", arg) for key, arg in named]
                return self._bracketed(
                    f"{prefix}{call_text(callee)}(", parts, ")" + suffix, indent, expr.span.end, last_comma=""
                )
            case ast.BoolOp(op=op):
                first, *others = member_texts(expr, in_filter=False)
                lines = [" " * indent + prefix + first]
                return _closed(lines + [" " * (indent + INDENT) + f"{op} {text}" for text in others], suffix)
            case ast.Cond(test=test, then=then, otherwise=otherwise):
                lines = [" " * indent + prefix + expr_text(test, 1)]
                inner = " " * (indent + INDENT)
                return _closed([*lines, f"{inner}? {expr_text(then)}", f"{inner}: {expr_text(otherwise)}"], suffix)
            case _:
                return [flat]

    def must_break(self, expr: ast.Expr) -> bool:
        """Whether an expression has a comment that wants its own line, or a bracket that the author broke."""
        match expr:
            case ast.ObjectExpr(entries=entries):
                values = [value for _, value in entries]
            case ast.ListExpr(items=items):
                values = list(items)
            case ast.Call(args=(ast.ObjectExpr() | ast.ListExpr() as arg,)):
                return self.must_break(arg)
            case _:
                return False
        if not values:
            return False
        return (
            self.has_comments(expr.span)
            or self.was_broken(expr.span.start, values[0].span.start)
            or any(self.must_break(value) for value in values)
        )

    def _bracketed(
        self,
        opening: str,
        parts: Sequence[tuple[str, ast.Expr]],
        closing: str,
        indent: int,
        end: int,
        last_comma: str = ",",
    ) -> Lines:
        out = [" " * indent + opening]
        inner = indent + INDENT
        for index, (prefix, value) in enumerate(parts):
            comments, blank = self.leading(value.span.start, inner)
            gap = self.gap(value.span.start)
            if index and (blank if comments else gap):
                out.append("")
            out += comments
            comma = "," if index + 1 < len(parts) else last_comma
            mark = self.mark
            lines = self.expr(value, inner, prefix, comma)
            out += self.settled(lines, mark, value.span.end, inner)
        rest, _ = self.leading(end, inner)
        return [*out, *rest, " " * indent + closing]


def flat_block(head: str, items: Sequence[Item]) -> str | None:
    """``head { items }`` on one line, or None when an item needs more."""
    texts = [item.flat for item in items]
    if not texts:
        return f"{head} {{ }}"
    return None if None in texts else f"{head} {{ {'  '.join(text for text in texts if text)} }}"


def _can_break(expr: ast.Expr) -> bool:
    match expr:
        case ast.ObjectExpr(entries=parts) | ast.ListExpr(items=parts):
            return bool(parts)
        case ast.Call(args=args, named=named):
            return bool(args or named)
        case ast.BoolOp() | ast.Cond():
            return True
        case _:
            return False


def _closed(lines: Lines, suffix: str) -> Lines:
    lines[-1] += suffix
    return lines


def _comment_lines(comment: Comment, indent: int) -> Lines:
    first, *rest = comment.text.replace("\r\n", "\n").split("\n")
    return [" " * indent + first.rstrip(), *(line.rstrip() for line in rest)]
