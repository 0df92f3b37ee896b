from __future__ import annotations

import os
from pathlib import Path

import pytest

from memql.errors import Code, MemqlError
from memql.lang import loader
from memql.lang.loader import Sources, load_tree, overlay_roots, packaged_sources, read_directory, read_sources

NOTE = "concept note { text string! }\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_the_packaged_tree_loads_without_a_finding() -> None:
    loaded = load_tree(packaged_sources())
    assert loaded.findings == ()
    assert "v1:identity:user" in loaded.require().concepts


def test_the_worked_example_tree_loads_without_a_finding(ops_tree: Sources) -> None:
    assert load_tree(ops_tree).findings == ()


def test_an_overlay_adds_files(tmp_path: Path) -> None:
    sources = read_sources([write(tmp_path, {"notes/concepts.memql": NOTE})])
    assert "v1:notes:note" in load_tree(sources).require().concepts


def test_an_overlay_replaces_a_file_of_the_same_path(tmp_path: Path) -> None:
    write(tmp_path, {"common/specs.memql": "spec specIsOpen { payload.open }\n"})
    specs = load_tree(read_sources([tmp_path])).require().specs
    assert "specIsOpen" in specs
    assert "requiresClusterOwner" not in specs


def test_an_empty_file_removes_the_one_below(tmp_path: Path) -> None:
    write(tmp_path, {"common/specs.memql": "\n"})
    assert "requiresClusterOwner" not in load_tree(read_sources([tmp_path])).require().specs


def test_later_overlays_lie_on_top(tmp_path: Path) -> None:
    first = write(tmp_path / "a", {"notes/concepts.memql": NOTE})
    second = write(tmp_path / "b", {"notes/concepts.memql": "concept memo { text string }\n"})
    concepts = load_tree(read_sources([first, second])).require().concepts
    assert "v1:notes:memo" in concepts
    assert "v1:notes:note" not in concepts


def test_names_that_start_with_an_underscore_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, {"notes/_draft.memql": "no memql", "_old/concepts.memql": "no memql", ".git/x.memql": "no memql"})
    assert read_directory(tmp_path).files == {}


def test_subdirectories_belong_to_the_namespace_of_the_first(tmp_path: Path) -> None:
    write(tmp_path, {"notes/deep/er/anything.memql": NOTE})
    assert "v1:notes:note" in load_tree(read_sources([tmp_path])).require().concepts


def test_templates_are_read_beside_the_sources(tmp_path: Path) -> None:
    write(tmp_path, {"notes/prompts/a.tmpl": "Hi {{.name}}", "notes/picture.png": "no text"})
    assert read_directory(tmp_path).templates == {"notes/prompts/a.tmpl": "Hi {{.name}}"}


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = write(tmp_path, {"notes/concepts.memql": ""}) / "notes/concepts.memql"
    path.write_bytes(b"\xef\xbb\xbfconcept note {\r\n  text string!\r\n}\r\n")
    assert "v1:notes:note" in load_tree(read_sources([tmp_path])).require().concepts


def test_several_roots_are_joined_like_a_search_path() -> None:
    assert overlay_roots(f"/a{os.pathsep}{os.pathsep}/b") == (Path("/a"), Path("/b"))
    assert overlay_roots("") == ()


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MemqlError) as caught:
        read_sources([tmp_path / "nowhere"])
    assert caught.value.code is Code.CONFIG_INVALID
    assert "nowhere" in caught.value.message


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, {"notes/concepts.memql": ""}) / "notes/concepts.memql"
    path.write_bytes(b"concept note {\n  text \xff string\n}")
    with pytest.raises(MemqlError) as caught:
        read_directory(tmp_path)
    assert caught.value.code is Code.CONFIG_INVALID
    assert "line 2" in caught.value.message


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "MAX_FILE_BYTES", 10)
    with pytest.raises(MemqlError, match="larger") as caught:
        read_directory(write(tmp_path, {"notes/concepts.memql": NOTE}))
    assert caught.value.code is Code.CONFIG_INVALID


def test_a_tree_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "MAX_TREE_BYTES", 40)
    with pytest.raises(MemqlError, match="holds more"):
        read_directory(write(tmp_path, {"a/concepts.memql": NOTE, "b/concepts.memql": NOTE}))


def test_a_link_to_a_directory_above_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"notes/concepts.memql": NOTE})
    (tmp_path / "notes" / "loop").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(MemqlError, match="link"):
        read_directory(tmp_path)


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"notes/concepts.memql": NOTE})
    (tmp_path / "notes" / "gone.memql").symlink_to(tmp_path / "missing.memql")
    with pytest.raises(MemqlError, match="cannot be read"):
        read_directory(tmp_path)


def test_a_file_outside_a_namespace_needs_one_of_its_own() -> None:
    assert {finding.code for finding in load_tree(Sources({"a.memql": NOTE})).findings} == {"bad-namespace"}
    named = '@namespace("notes:deep")\nuse identity.concepts.{ user }\n' + (
        'concept note { by string! @relationship(type="references", field="by", target=user) }\n'
    )
    loaded = load_tree(packaged_sources().over(Sources({"a.memql": named})))
    assert "v1:notes:deep:note" in loaded.require().concepts


def test_a_refused_tree_raises_with_every_error_in_the_details(ops_tree: Sources) -> None:
    broken = ops_tree.over(Sources({"ops/extra.memql": "concept c { a strng b strng }"}))
    with pytest.raises(MemqlError) as caught:
        load_tree(broken).require()
    assert caught.value.code is Code.TREE_REFUSED
    assert len(caught.value.details["findings"]) == 2


def test_one_broken_file_does_not_hide_what_is_wrong_in_others(ops_tree: Sources) -> None:
    broken = ops_tree.over(
        Sources(
            {"ops/a.memql": "concept { }", "ops/b.memql": "spec specX { actor.nobody }", "ops/c.memql": "policy p { }"}
        )
    )
    assert {finding.code for finding in load_tree(broken).findings} == {"syntax", "unknown-actor-field", "bad-policy"}


def test_a_declaration_that_does_not_parse_is_not_also_missing(ops_tree: Sources) -> None:
    broken = ops_tree.over(Sources({"ops/traits.memql": "trait traitIsActiveRecord { payload.active == }"}))
    assert {finding.code for finding in load_tree(broken).findings} == {"syntax"}


def test_findings_come_in_the_order_of_the_files(ops_tree: Sources) -> None:
    broken = ops_tree.over(
        Sources({"ops/b.memql": "concept c { a strng\n b strng }", "ops/a.memql": "spec specX { actor.nobody }"})
    )
    places = [(finding.span.file, finding.span.line) for finding in load_tree(broken).findings]
    assert places == [("ops/a.memql", 1), ("ops/b.memql", 1), ("ops/b.memql", 2)]


def test_loading_is_pure(ops_tree: Sources) -> None:
    first, second = load_tree(ops_tree).require(), load_tree(ops_tree).require()
    assert first == second
    assert first.version == second.version


def test_any_change_of_a_text_changes_the_version(ops_tree: Sources) -> None:
    changed = ops_tree.over(Sources({}, {"ops/prompts/job.tmpl": "Other {{.title}} {{json .visits}}"}))
    assert load_tree(changed).require().version != load_tree(ops_tree).require().version
