"""Every code a finding can have, and what calls for it (spec "Codes")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from memql.lang.diagnostics import Severity

__all__ = ["CODES", "CodeRow"]


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One code. ``severity`` is the usual one: the summary says when it differs."""

    code: str
    severity: Severity
    summary: str


def _errors(**summaries: str) -> dict[str, CodeRow]:
    return {name.replace("_", "-"): CodeRow(name.replace("_", "-"), "error", text) for name, text in summaries.items()}


def _warnings(**summaries: str) -> dict[str, CodeRow]:
    return {
        name.replace("_", "-"): CodeRow(name.replace("_", "-"), "warning", text) for name, text in summaries.items()
    }


CODES: Final[Mapping[str, CodeRow]] = {
    **_errors(
        syntax="The text does not parse.",
        legacy_form="A form that an earlier version of the language had.",
        unknown_annotation="An annotation that has no meaning where it stands.",
        bad_annotation="An annotation with arguments it does not take.",
        duplicate_annotation="An annotation that stands twice and may not.",
        duplicate_name="Two declarations share a name.",
        duplicate_field="A field, key, binding or step stands twice.",
        duplicate_clause="A clause stands twice.",
        reserved_name="An argument, binding, alias or construct takes a word of the language.",
        reserved_field="A concept's field, or a key of a write, takes the name of what every row has.",
        unknown_import="An import names a module or symbol that is not there.",
        import_conflict="One local name is imported twice, or imported and declared.",
        unresolved="A name means nothing where it stands.",
        ambiguous="A name may mean several things.",
        wrong_kind="A name means something of another kind than is needed.",
        layer="A construct refers to one of a higher layer, or to one its kind may not refer to.",
        cycle="Constructs or bindings refer to each other in a ring.",
        cqs="Something that reads reaches something that writes, or a mutation calls anything.",
        bad_version="A concept's version is not MAJOR.MINOR.PATCH with a major of at least 1.",
        bad_namespace="A namespace is not lower-case words joined by colons.",
        bad_concept_name="A concept's name is not lower camel case.",
        unknown_type="A type that does not exist.",
        bad_constraint="A constraint that does not fit the type or excludes everything, or a default of another type.",
        bad_variant="The branches of a variant and the values of its discriminator differ.",
        bad_relationship="A relationship of unknown type, direction, field or target.",
        missing_relationship="A collection or reference without the relationship that makes it one.",
        bad_display_card="A display card names a field that is not declared.",
        bad_row_authz="A row rule that is none, or several, or names what is not there.",
        shape_kind="A shape without @row and @actor.",
        shape_path="A shape's path that is bare, unknown, or of the kind it is not marked for.",
        shape_key="Two members of a shape have one key.",
        spec_mixed="A spec reads rows and the actor.",
        spec_empty="A spec reads neither rows nor the actor.",
        spec_not_boolean="A term is neither true nor false.",
        spec_outside_shape="A spec reads a path that its shape lacks.",
        unknown_actor_field="The actor has no such field.",
        unknown_config_key="A configuration key that may not be read.",
        undeclared_arg="An argument that is not declared.",
        unknown_field="A payload path or key that the concept lacks.",
        unknown_function="A function that does not exist, or not there.",
        directive_in_body="A directive of raw queries inside a construct.",
        si_position="A model call where none may stand.",
        bad_argument="An argument that is wrong, unknown or missing.",
        filter_mixed="AND and OR on one level in two spellings, without parentheses.",
        filter_value="A function of row data in a filter, or a term where a value is needed.",
        write_count="A mutation without exactly one write.",
        write_concept="A mutation writes another concept than its own.",
        write_id="An update or delete without an id.",
        write_missing="An insert that never sets a required field.",
        shorthand_path="A longer path of an argument without a key.",
        merge_fields="@mergeFields on something else than object fields of an update.",
        if_value="An if where it yields no value.",
        unknown_step="A binding or step that does not exist.",
        missing_return="A body that does not end with its one return.",
        bad_trigger="No trigger, two, or one on an unknown concept.",
        bad_cron="A schedule that cannot fire.",
        bad_executor="A builtin without an executor, or with one that is not registered.",
        bad_provider="A provider without a type, a base with a model, or an unknown base.",
        duplicate_default="Two default providers of one modality.",
        bad_policy="A routing policy without a provider, or with an unknown one.",
        policy_is_spec="A policy that only asks about the actor.",
        policy_tier="A core policy calls a bff policy.",
        bad_template="A template that is missing, does not parse, or reads an undeclared field.",
        bad_handler="A tool without exactly one sound handler.",
        bad_seed="A seed that is no row of its concept.",
        seed_id="A seed with an id it may not have, or one that is taken.",
        seed_owner="A seed for each user of a concept without ownerUserId.",
        unclassified="Nothing says who may call a query or mutation.",
        uses_disabled="An enabled construct needs a disabled one; a warning when that one is callable.",
        schema_breaking="A schema change under one major that stored rows may not survive; a warning without rows.",
    ),
    **_warnings(
        unused_import="An import that is never used.",
        implicit_import="A name found in another namespace without an import.",
        optional_arg_unguarded="A comparison that fails when its optional argument is left out.",
        redundant_filter="A filter that repeats or contradicts the trigger.",
        schema_changed="A schema that changed under an unchanged version.",
        naming="A name without its kind in front.",
        deprecated="A use of something deprecated.",
    ),
}
"""Every code by name."""
