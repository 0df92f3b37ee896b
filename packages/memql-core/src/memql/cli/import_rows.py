"""Files to rows: CSV and JSON lines, columns mapped to fields, one bad line costing only itself."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Concept, Field

__all__ = ["BadLine", "ColumnMap", "FileFormat", "ParsedLine", "RowSource", "detect_format"]

FileFormat = Literal["csv", "jsonl"]
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """One record: the line it begins on, its payload, and its id if it has one."""

    line: int
    payload: dict[str, Any]
    id: str | None


@dataclass(frozen=True, slots=True)
class BadLine:
    """A record that is none, or that does not fit the concept."""

    line: int
    error: MemqlError


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column goes to which field (a dotted path; empty drops the column), and which one is the id."""

    columns: Mapping[str, str] = field(default_factory=dict)
    id_column: str = ""

    @classmethod
    def parse(cls, pairs: Iterable[str], id_column: str | None) -> ColumnMap:
        """From ``column=field`` options.

        :raises MemqlError: ``INVALID_ARGUMENT`` for a pair that is none.
        """
        columns = {}
        for pair in pairs:
            column, sign, target = pair.partition("=")
            if not sign or not column:
                raise MemqlError(Code.INVALID_ARGUMENT, f"--map {pair!r} is not COLUMN=FIELD (an empty field drops it)")
            columns[column] = target
        return cls(columns, id_column or "")

    def target(self, column: str, concept: Concept) -> tuple[str, ...]:
        """The path that a column goes to; empty when it is dropped.

        :raises MemqlError: ``INVALID_ARGUMENT`` when the concept has no such field.
        """
        path = self.columns.get(column)
        if path is None:
            if column == self.id_column and concept.field(column) is None:
                return ()
            path = column
        if not path:
            return ()
        segments = tuple(path.split("."))
        if concept.field(segments[0]) is None:
            raise _unknown_field(column, segments[0], concept)
        return segments


def _unknown_field(column: str, name: str, concept: Concept) -> MemqlError:
    names = [one.name for one in concept.fields]
    close = difflib.get_close_matches(name, names, n=1)
    return MemqlError(
        Code.INVALID_ARGUMENT,
        f"column {column!r} goes to no field of {concept.key}, which has {', '.join(names)}; map it with "
        f"--map {column}=FIELD, or drop it with --map {column}=",
        suggestion={"didYouMean": close[0]} if close else None,
    )


def detect_format(path: Path, wanted: str | None) -> FileFormat:
    """The format of a file, by option or by its ending.

    :raises MemqlError: ``INVALID_ARGUMENT`` when neither tells.
    """
    by_name: Mapping[str, FileFormat] = {"csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl"}
    name = wanted or path.suffix.lstrip(".").lower()
    if name in by_name:
        return by_name[name]
    raise MemqlError(Code.INVALID_ARGUMENT, f"{path} tells no format by its name; say --format csv or --format jsonl")


class RowSource:
    """The records of one file, in order.

    :raises MemqlError: ``INVALID_ARGUMENT`` when the file cannot be read, is not UTF-8, or a column goes
        nowhere.
    """

    def __init__(self, path: Path, form: FileFormat, concept: Concept, columns: ColumnMap) -> None:
        self._path = path
        self._form = form
        self._concept = concept
        self._columns = columns
        self._binary: BinaryIO | None = None

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._binary.tell() if self._binary is not None and not self._binary.closed else 0

    def __iter__(self) -> Iterator[ParsedLine | BadLine]:
        try:
            with self._path.open("rb") as binary:
                self._binary = binary
                text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
                yield from (self._csv(text) if self._form == "csv" else self._json_lines(text))
        except OSError as error:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{self._path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{self._path} is not UTF-8: {error}") from error

    # --- CSV ---

    def _csv(self, text: io.TextIOWrapper) -> Iterator[ParsedLine | BadLine]:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, None)
        except csv.Error as error:
            raise MemqlError(
                Code.INVALID_ARGUMENT, f"{self._path} does not begin with a CSV header: {error}"
            ) from error
        if header is None:
            return
        cells = self._cells(header)
        id_index = self._id_index(header)
        line = reader.line_num + 1
        while True:
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadLine(line, MemqlError(Code.INVALID_ARGUMENT, f"not CSV: {error}"))
                line = reader.line_num + 1
                continue
            if record:
                yield self._csv_row(line, record, cells, id_index, len(header))
            line = reader.line_num + 1

    def _cells(self, header: list[str]) -> list[_Cell]:
        doubled = {name for name in header if header.count(name) > 1}
        if doubled:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{self._path} has columns twice: {', '.join(sorted(doubled))}")
        cells = []
        for index, name in enumerate(header):
            if path := self._columns.target(name, self._concept):
                cells.append(_Cell(index, name, path, _converter(self._concept.path(path))))
        missing = [name for name in self._columns.columns if name not in header]
        if missing:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{self._path} has no column {', '.join(map(repr, missing))}")
        return cells

    def _id_index(self, header: list[str]) -> int | None:
        column = self._columns.id_column
        if not column:
            return None
        if column not in header:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{self._path} has no column {column!r} to take ids from")
        return header.index(column)

    def _csv_row(
        self, line: int, record: list[str], cells: list[_Cell], id_index: int | None, width: int
    ) -> ParsedLine | BadLine:
        if len(record) != width:
            text = f"{len(record)} cells where the header has {width}"
            return BadLine(line, MemqlError(Code.INVALID_ARGUMENT, text))
        payload: dict[str, Any] = {}
        for one in cells:
            text = record[one.index]
            if text == "":
                continue
            try:
                value = one.convert(text)
            except (ValueError, msgspec.DecodeError) as error:
                return BadLine(line, _bad_cell(one, text, error))
            _put(payload, one.path, value)
        return ParsedLine(line, payload, None if id_index is None else record[id_index] or None)

    # --- JSON lines ---

    def _json_lines(self, text: io.TextIOWrapper) -> Iterator[ParsedLine | BadLine]:
        for line, source in enumerate(text, 1):
            if source.strip():
                yield self._json_row(line, source)

    def _json_row(self, line: int, source: str) -> ParsedLine | BadLine:
        try:
            members = msgspec.json.decode(source)
        except msgspec.DecodeError as error:
            return BadLine(line, MemqlError(Code.INVALID_ARGUMENT, f"not JSON: {error}"))
        if not isinstance(members, dict):
            return BadLine(line, MemqlError(Code.INVALID_ARGUMENT, "not a JSON object"))
        payload: dict[str, Any] = {}
        try:
            for name, value in members.items():
                if path := self._columns.target(name, self._concept):
                    _put(payload, path, value)
        except MemqlError as error:
            return BadLine(line, error)
        return self._identified(line, payload, members)

    def _identified(self, line: int, payload: dict[str, Any], members: dict[str, Any]) -> ParsedLine | BadLine:
        if not self._columns.id_column:
            return ParsedLine(line, payload, None)
        value = members.get(self._columns.id_column)
        if isinstance(value, str) or value is None:
            return ParsedLine(line, payload, value or None)
        if isinstance(value, int) and not isinstance(value, bool):
            return ParsedLine(line, payload, str(value))
        text = f"{self._columns.id_column!r} is {value!r}, which is no id"
        return BadLine(line, MemqlError(Code.INVALID_ARGUMENT, text))


@dataclass(frozen=True, slots=True)
class _Cell:
    index: int
    column: str
    path: tuple[str, ...]
    convert: Callable[[str], Any]


def _bad_cell(one: _Cell, text: str, error: Exception) -> MemqlError:
    violation = {"path": ".".join(one.path), "rule": "type", "message": f"{text!r}: {error}"}
    return MemqlError(
        Code.INVALID_FIELD_TYPE, f"column {one.column!r}: {text!r}: {error}", details={"violations": [violation]}
    )


def _put(payload: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    holder = payload
    for segment in path[:-1]:
        inner = holder.setdefault(segment, {})
        if not isinstance(inner, dict):
            inner = holder[segment] = {}
        holder = inner
    holder[path[-1]] = value


def _converter(declared: Field | None) -> Callable[[str], Any]:
    """From a cell's text to a value of the declared type; undeclared members stay text."""
    if declared is None:
        return str
    kind = declared.type
    if isinstance(kind, ast.ScalarType):
        return _SCALARS.get(kind.name, str)
    if isinstance(kind, ast.EnumType):
        return str
    return msgspec.json.decode


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():
            raise ValueError("not a whole number") from None
        return int(value)


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("not true or false")


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    "int": _whole,
    "integer": _whole,
    "float": float,
    "number": float,
    "bool": _flag,
    "boolean": _flag,
    "object": msgspec.json.decode,
    "array": msgspec.json.decode,
    "map": msgspec.json.decode,
}
