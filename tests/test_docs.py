"""The documentation against what it is about: links lead somewhere, tables say what the code says."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

from memql.automations.metrics import Counts
from memql.graph.readiness import CRITICAL_TABLES
from memql.mesh.cluster.table import COLUMNS
from memql.mesh.routing import CORE_RULES, EVERYONE

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


def pages(root: Path) -> list[Path]:
    """Everything that is written for readers."""
    return [
        root / "README.md",
        root / "CONTRIBUTING.md",
        *sorted((root / "docs").glob("*.md")),
        *sorted(root.glob("packages/*/*.md")),
    ]


def anchors(page: Path) -> set[str]:
    """What a link into a page may name: its headings, as GitHub spells them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def rows(text: str, heading: str, width: int) -> Iterator[list[str]]:
    """The rows of the tables of so many columns below a heading, up to the next one of its level."""
    level = len(heading.partition(" ")[0])
    part = text.partition(f"\n{heading}\n")[2]
    assert part, f"there is no {heading!r}"
    for line in re.split(rf"^#{{1,{level}}} ", part, flags=re.MULTILINE)[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == width:
            yield cells


def page(root: Path, name: str) -> str:
    return (root / "docs" / name).read_text(encoding="utf-8")


def test_every_relative_link_leads_somewhere(root: Path) -> None:
    broken = []
    for file in pages(root):
        for target in _LINK.findall(_FENCE.sub("", file.read_text(encoding="utf-8"))):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            found = (file.parent / path).resolve() if path else file
            if not found.exists() or (anchor and anchor not in anchors(found)):
                broken.append(f"{file.relative_to(root)}: {target}")
    assert not broken


def test_every_page_is_linked_from_the_readme(root: Path) -> None:
    linked = set(_LINK.findall((root / "README.md").read_text(encoding="utf-8")))
    assert {f"docs/{file.name}" for file in (root / "docs").glob("*.md")} <= {one.partition("#")[0] for one in linked}


# --- metrics ---------------------------------------------------------------------------------------------------------


def families(root: Path) -> dict[str, tuple[str, str]]:
    """Every metric that the packages register, as it is exposed with its labels: type and help text."""
    for file in sorted(root.glob("packages/*/src/**/*.py")):
        if "prometheus_client" in file.read_text(encoding="utf-8"):
            importlib.import_module(".".join(file.with_suffix("").parts[file.parts.index("src") + 1 :]))
    found: list[Any] = [one for one in REGISTRY._collector_to_names if getattr(one, "_name", "").startswith("memql")]
    return {exposed(one): (one._type, one._documentation) for one in found}


def exposed(family: Any) -> str:
    """A metric as the page names it: with the suffix of counters, and its labels."""
    suffix = "_total" if family._type == "counter" else ""
    labels = f"{{{','.join(family._labelnames)}}}" if family._labelnames else ""
    return f"{family._name}{suffix}{labels}"


def test_the_page_of_metrics_has_each_one_and_no_other(root: Path) -> None:
    text = page(root, "metrics.md")
    headings = re.findall(r"^## .+$", text, re.MULTILINE)
    told = {
        cells[0].strip("`"): (cells[1], cells[2])
        for heading in headings
        for cells in rows(text, heading, 4)
        if cells[0].startswith("`memql_")
    }
    assert told == families(root), "the first three columns are name and labels, type, and help text"


def test_every_metric_that_is_named_anywhere_exists(root: Path) -> None:
    known = {name.partition("{")[0] for name in families(root)}
    named = {
        (file.name, name)
        for file in pages(root)
        for name in re.findall(r"\bmemql_(?!tools\b)[a-z_]+\b", file.read_text(encoding="utf-8"))
    }
    assert not {one for one in named if one[1] not in known | {"memql_events"}}


def test_what_the_guard_counts_is_told(root: Path) -> None:
    table = rows(page(root, "metrics.md"), "## Automations", 3)
    told = [name for cells in table for name in _CODE.findall(cells[0])]
    assert sorted(told) == sorted(field.name for field in fields(Counts))


def test_the_checks_of_readiness_are_told(root: Path) -> None:
    told = {name for cells in rows(page(root, "metrics.md"), "## Readiness", 3) for name in _CODE.findall(cells[0])}
    others = {"lifecycle", "database", "schema_version", "verifier_keys", "mesh_delivery", "node_token"}
    assert told == {*CRITICAL_TABLES, *others}


# --- the mesh --------------------------------------------------------------------------------------------------------


def expanded(pattern: str) -> Iterator[str]:
    """``a.{b,c}`` as ``a.b`` and ``a.c``."""
    parts = re.split(r"\{([^}]*)\}", pattern)
    choices = [part.split(",") if number % 2 else [part] for number, part in enumerate(parts)]
    return ("".join(chosen) for chosen in product(*choices))


def test_the_rules_of_the_page_are_those_of_the_bridge_in_their_order(root: Path) -> None:
    told = []
    for topics, target in rows(page(root, "mesh.md"), "### Rules", 2):
        targets = EVERYONE if target in {"all", "blocked"} else frozenset(target.split(", "))
        told += [
            (pattern, targets, target == "blocked") for topic in _CODE.findall(topics) for pattern in expanded(topic)
        ]
    rules = [(rule.pattern, rule.targets, rule.block) for rule in CORE_RULES]
    assert sorted(told, key=str) == sorted(rules, key=str)
    assert [block for _, _, block in told] == [block for _, _, block in rules]


def test_the_columns_of_the_status_are_told_in_their_order(root: Path) -> None:
    table = rows(page(root, "cluster.md"), "## `memql cluster status`", 2)
    assert [name for cells in table for name in cells[0].split(", ") if name.isupper()] == list(COLUMNS)
