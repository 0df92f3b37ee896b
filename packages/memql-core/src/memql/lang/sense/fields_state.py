"""Which part of a field is written at a place in a block of fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from memql.lang.lexer import Token

__all__ = ["FieldState", "field_state"]

FieldState = Literal["name", "type", "after", "annotation"]
"""``after``: behind a type, where annotations, ``!``, a block or the next field may follow."""


def field_state(items: Iterable[Token]) -> FieldState:
    """The state after the tokens of a block, brackets as empty pairs."""
    state: FieldState = "name"
    for token in items:
        match token.kind:
            case "@":
                state = "annotation"
            case "IDENT" if state == "annotation" or state == "type":
                state = "after"
            case "IDENT":
                state = "type"
            case "}":
                state = "name"
            case ")" | "!":
                state = "after"
    return state
