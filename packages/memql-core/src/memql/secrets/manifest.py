"""The manifest: which secrets and variables a system has, where each lives, and what no envelope may lack (spec
"Secrets", manifest).

A manifest is YAML with two lists, ``secrets:`` and ``variables:``. An entry has a ``name`` and may have ``component``,
``scope``, ``kind`` (of secrets), ``required``, ``default``, ``optional`` and ``description``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from memql.errors import Code, MemqlError

__all__ = ["Entry", "FoundManifest", "Manifest", "find_manifest", "parse_manifest"]

_PATH = "MEMQL_MANIFEST_PATH"
_PACKAGED = "manifest.yaml"

_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One name.

    ``scope`` says where its value lives: in the environment of nodes (``node``), or as a row of the graph, global or of
    the partition. ``required`` are the roles, or ``all``, that do not start without it. What is neither optional nor
    has a default belongs to the floor: an envelope without it is not sealed.
    """

    name: _Name
    component: str = ""
    scope: Literal["node", "global", "partition"] = "node"
    kind: Literal["vendor_api_key", "oauth_secret", "integration"] | None = None
    required: tuple[str, ...] = ()
    default: str | None = None
    optional: bool = False
    description: str = ""

    @property
    def in_floor(self) -> bool:
        """Whether an envelope must have it."""
        return not self.optional and self.default is None

    def required_by(self, role: str) -> bool:
        """Whether a role does not start without it."""
        return "all" in self.required or role in self.required


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All entries."""

    secrets: tuple[Entry, ...] = ()
    variables: tuple[Entry, ...] = ()

    def entries(self) -> Iterator[Entry]:
        """Secrets, then variables."""
        yield from self.secrets
        yield from self.variables

    def missing(self, names: Iterable[str]) -> list[str]:
        """What of the floor is not among the names."""
        given = frozenset(names)
        return [entry.name for entry in self.entries() if entry.in_floor and entry.name not in given]

    def required(self, role: str, names: Iterable[str]) -> list[str]:
        """What a role requires and is neither among the names nor has a default."""
        given = frozenset(names)
        wanted = (entry for entry in self.entries() if entry.required_by(role) and entry.default is None)
        return [entry.name for entry in wanted if entry.name not in given]


@dataclass(frozen=True, slots=True)
class FoundManifest:
    """A manifest and where it came from: ``--manifest``, ``MEMQL_MANIFEST_PATH`` or ``packaged``, with the path."""

    manifest: Manifest
    source: str


def find_manifest(environ: Mapping[str, str], path: Path | None = None) -> FoundManifest:
    """The manifest in force: the file that is given, else the one ``MEMQL_MANIFEST_PATH`` names, else the packaged one.

    :raises MemqlError: ``CONFIG_INVALID`` when a named file cannot be read or is no manifest.
    """
    if path is not None:
        return FoundManifest(_read(path), f"--manifest {path}")
    if named := environ.get(_PATH, "").strip():
        return FoundManifest(_read(Path(named).expanduser()), f"{_PATH} {named}")
    text = resources.files("memql.secrets").joinpath(_PACKAGED).read_text(encoding="utf-8")
    return FoundManifest(parse_manifest(text), "packaged")


def parse_manifest(text: str) -> Manifest:
    """A manifest from its text; an empty one has no entries.

    :raises MemqlError: ``CONFIG_INVALID`` for what is no manifest: not YAML, an unknown or malformed member, a name
        that stands twice.
    """
    try:
        manifest = msgspec.yaml.decode(text, type=Manifest | None) or Manifest()
    except msgspec.MsgspecError as error:
        raise MemqlError(Code.CONFIG_INVALID, f"the manifest is malformed: {error}") from error
    seen: set[str] = set()
    for entry in manifest.entries():
        if entry.name in seen:
            raise MemqlError(Code.CONFIG_INVALID, f"the manifest names {entry.name} twice")
        seen.add(entry.name)
    return manifest


def _read(path: Path) -> Manifest:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MemqlError(Code.CONFIG_INVALID, f"the manifest {path} cannot be read: {error}") from error
    return parse_manifest(text)
