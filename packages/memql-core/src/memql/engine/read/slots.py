"""Values known before the database is asked: what a plan evaluates, and how their types choose its SQL.

The SQL of a plan is specialised by the *tags* of its slots: null, text, number, list of texts... A plan therefore has
a handful of variants, and a statement never has to ask at run time what its parameters are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from memql.engine.values import Env, parse_instant

__all__ = ["SKIPPED", "Run", "Slot", "SlotTable", "Tag", "evaluate", "storable", "tag_of"]

Run: TypeAlias = Callable[[Env], Any]
Tag: TypeAlias = str

SKIPPED: Final = "-"
"""The tag of a slot that was not evaluated, because what guards it does not hold."""


@dataclass(frozen=True, slots=True)
class Slot:
    """How one value comes about.

    :param run: evaluates it.
    :param frame: the slot that holds the environment it is evaluated in; -1 for that of the call.
    :param guards: slots with the truth they must have; else this one is skipped.
    :param instant: whether a text is compared as a moment, so that it matters if it names one.
    :param nobody: whether the empty text stands for "no user", equal to nothing.
    :param exact: whether the value itself is part of the plan, such as a concept id.
    """

    run: Run
    frame: int = -1
    guards: tuple[tuple[int, bool], ...] = ()
    instant: bool = False
    nobody: bool = False
    exact: bool = False

    def tag(self, value: Any) -> Tag:
        """What of the value decides the SQL."""
        if self.exact and isinstance(value, str):
            return f"={value}"
        return tag_of(value, instant=self.instant, nobody=self.nobody)


class SlotTable:
    """The slots of a plan in evaluation order; a slot refers only to earlier ones."""

    __slots__ = ("slots",)

    def __init__(self) -> None:
        self.slots: list[Slot] = []

    def add(self, slot: Slot) -> int:
        """Append a slot and return its number."""
        self.slots.append(slot)
        return len(self.slots) - 1


def evaluate(slots: Sequence[Slot], env: Env) -> tuple[list[Any], tuple[Tag, ...]]:
    """The values of all slots, in order, and their tags. Skipped ones are None.

    :raises MemqlError: what an expression raises, such as ``INVALID_ARGUMENT`` for an omitted argument.
    """
    values: list[Any] = []
    tags: list[Tag] = []
    for slot in slots:
        for index, wanted in slot.guards:
            if values[index] is not wanted:
                values.append(None)
                tags.append(SKIPPED)
                break
        else:
            value = slot.run(env if slot.frame < 0 else values[slot.frame])
            values.append(value)
            tags.append(slot.tag(value))
    return values, tuple(tags)


def tag_of(value: Any, *, instant: bool = False, nobody: bool = False) -> Tag:
    """``0`` null, ``t``/``f`` booleans, ``n`` number, ``s`` text, ``i`` text that names a moment, ``z`` text that no
    stored value can equal, ``o`` object, ``l`` and the tags of its elements for a list, ``e`` an environment."""
    if value is None:
        return "0"
    if value is True:
        return "t"
    if value is False:
        return "f"
    if isinstance(value, str):
        if instant and parse_instant(value) is not None:
            return "i"
        if (nobody and not value) or not storable(value):
            return "z"
        return "s"
    if isinstance(value, int | float):
        return "n"
    if isinstance(value, list):
        return "l" + "".join(sorted({_element_tag(item, instant) for item in value}))
    if isinstance(value, dict):
        return "o" if storable(value) else "z"
    return "e"


def _element_tag(value: Any, instant: bool) -> Tag:
    tag = tag_of(value, instant=instant)
    if tag in ("t", "f"):
        return "b"
    return "l" if tag.startswith("l") and storable(value) else "z" if tag.startswith("l") else tag


def storable(value: Any) -> bool:
    """Whether PostgreSQL can hold a value: no text in it has U+0000 or a lone surrogate."""
    if isinstance(value, str):
        return "\x00" not in value and (value.isascii() or _encodable(value))
    if isinstance(value, list):
        return all(map(storable, value))
    if isinstance(value, dict):
        return all(storable(key) and storable(item) for key, item in value.items())
    return True


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
