"""The words of the language with what they mean, for completions and hovers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from memql.lang.schemas import SCALARS

__all__ = [
    "ACCESSOR_WORDS",
    "ACTION_WORDS",
    "ACTOR_WORDS",
    "CLAUSE_WORDS",
    "CONSTRUCT_WORDS",
    "DIRECTIVE_WORDS",
    "EVENT_WORDS",
    "INTRINSIC_WORDS",
    "INTROSPECTION_WORDS",
    "OPERATOR_WORDS",
    "PUBLISHED_WORDS",
    "RELATION_WORDS",
    "ROOT_WORDS",
    "STATEMENT_WORDS",
    "TYPE_WORDS",
    "WRITE_REQUESTS",
    "Words",
]

Words = Mapping[str, tuple[str, str]]
"""Word to its form, as a snippet, and its meaning."""

CONSTRUCT_WORDS: Final[Words] = {
    "concept": ("concept ${1:name} {\n  ${2:field} ${3:string}\n}", "A schema of rows."),
    "shape": ("@row shape ${1:concept} ${2:name} {\n  row.id\n  $0\n}", "A projection of rows, of the actor or both."),
    "spec": ("spec spec${1:Name} { $0 }", "A named condition on rows or on the actor."),
    "trait": ("trait trait${1:Name} { $0 }", "A named condition that any concept may use."),
    "query": ("@enabled\nquery ${1:concept} query${2:Name} {\n  filter $0\n}", "A named read of one concept."),
    "mutation": ("@enabled\nmutation ${1:concept} mutation${2:Name} {\n  args { }\n  insert { $0 }\n}",
                 "A named write of one concept."),
    "logic": ("logic logic${1:Name} {\n  args { }\n  body {\n    return $0\n  }\n}", "Statements that read and write."),
    "automation": ("@enabled\n@trigger($1)\nautomation ${2:name} {\n  step ${3:run} { $0 }\n}",
                   "Steps that an event or a schedule starts."),
    "builtin": ('@enabled\n@executor("$1")\nbuiltin ${2:name} {\n  $0\n}', "The typed front of a host function."),
    "prompt": ('@templateFile("$1")\nprompt ${2:name} {\n  $0\n}', "A template with typed fields for a model."),
    "tool": ('@enabled\n@handler(type="query", query="$1")\ntool ${2:name} {\n  $0\n}', "What a model may call."),
    "provider": ('@type("$1")\nprovider ${2:name} {\n  $0\n}', "A vendor of models, or one of its models."),
    "policy": ("policy ${1:name} { $0 }", "A choice of providers, or a decision."),
    "seed": ("seed ${1:concept} ${2:name} {\n  $0\n}", "A row that is written at startup."),
    "use": ("use ${1:namespace}.${2:concepts}.{ $0 }", "Imports names of another namespace."),
}  # fmt: skip

CLAUSE_WORDS: Final[Mapping[str, Words]] = {
    "query": {
        "args": ("args { $0 }", "The arguments."),
        "filter": ("filter $0", "Which rows; all of the concept without one."),
        "shape": ("shape $0", "How each row is projected; whole rows without one."),
        "sort": ('sort "${1:payload.field}", "${2|asc,desc|}"', "The order: fields and directions."),
        "paginate": ("paginate ${1:20}", "How many rows at most."),
        "asOf": ("asOf ${1:latest}", "The state at an instant."),
        "count": ("count", "Only how many rows match."),
    },
    "mutation": {
        "args": ("args { $0 }", "The arguments."),
        "filter": ("filter $0", "What the latest version must fulfil for an update or delete."),
        "insert": ("insert {\n  $0\n}", "Writes a whole row."),
        "update": ("update {\n  id: $0\n}", "Changes keys of a row."),
        "delete": ("delete {\n  id: $0\n}", "Writes a tombstone; the history stays."),
    },
    "logic": {
        "args": ("args { $0 }", "The arguments."),
        "body": ("body {\n  $0\n}", "The statements."),
    },
    "policy": {
        "args": ("args { $0 }", "The arguments of a decision."),
        "body": ("body {\n  $0\n}", "The statements of a decision."),
        "return": ("return $0", "The decision."),
    },
    "automation": {
        "args": ("args { $0 }", "What the event's payload must hold."),
        "step": ("step ${1:name} { $0 }", "One action, in order."),
    },
    "provider": {
        "auth": ("auth { $0 }", "The credentials."),
        "params": ("params { $0 }", "The parameters of every call."),
    },
}

STATEMENT_WORDS: Final[Words] = {
    "if": ("if ${1:condition} {\n  $0\n}", "Runs its block when the condition holds."),
    "for": ("for ${1:item} := range ${2:list} {\n  $0\n}", "Runs its block for every element."),
    "return": ("return $0", "The result, last."),
}

ACTION_WORDS: Final[Words] = {
    "logic": ("logic $0", "Runs a logic."),
    "query": ("query $0", "Runs a query."),
    "mutation": ("mutation $0", "Runs a mutation."),
    "builtin": ("builtin $0", "Calls a builtin."),
    "automation": ("automation $0", "Runs another automation."),
    "publishEvent": ('publishEvent { topic: "$1", payload: { $0 } }', "Publishes an event."),
    "if": ("if ${1:condition} { $0 }", "Runs the action only when the condition holds."),
}

DIRECTIVE_WORDS: Final[Words] = {
    "asOf": ('asOf(${1:read}, "${2:2026-01-01}")', "The state at an instant."),
    "sort": ('sort(${1:read}, "${2:createdAt}", "${3|asc,desc|}")', "The order; descending unless said."),
    "paginate": ("paginate(${1:read}, ${2:20})", "A page: how many, and from which offset or cursor."),
    "select": ('select(${1:read}, "${2:payload.field}")', "Only some fields; the id always."),
    "shape": ('shape(${1:read}, "${2:name}")', "Each row projected by a shape or a template."),
    "shapeWithBundle": ('shapeWithBundle(${1:read}, "${2:name}")', "The projection and the rows."),
    "withDepth": ("withDepth(${1:read}, ${2:1})", "Follows relationships that many levels."),
    "count": ("count(${1:read})", "How many rows match."),
    "history": ("history(${1:read})", "Every matching version, newest first."),
    "withDeleted": ("withDeleted(${1:read})", "Deleted ids too."),
}

RELATION_WORDS: Final[Words] = {
    "childOf": ("childOf($0)", "Rows whose parent is a match."),
    "parentOf": ("parentOf($0)", "Rows that a match points at as its parent."),
    "contains": ("contains($0)", "Members of matching collections."),
    "owns": ("owns($0)", "The other end of an ownership."),
    "aliasOf": ("aliasOf($0)", "The group of aliases."),
    "equals": ("equals($0)", "Rows declared equal."),
    "interactsWith": ("interactsWith($0)", "The other end of an interaction."),
    "createdBy": ("createdBy($0)", "Who created the matches."),
    "ids": ("ids($0)", "The matches without their payload."),
}

WRITE_REQUESTS: Final[Words] = {
    "insert": ('insert("${1:concept}", payload={ $0 })', "Writes a whole row."),
    "update": ('update("${1:concept}", id="$2", payload={ $0 })', "Changes keys of a row."),
    "delete": ('delete("${1:concept}", id="$0")', "Writes a tombstone."),
}

INTROSPECTION_WORDS: Final[Words] = {
    "concepts": ("concepts()", "The concepts with their schemas."),
    "functions": ("functions()", "What can be called."),
    "tools": ("tools()", "The tools."),
    "shapeTemplates": ("shapeTemplates()", "The shapes."),
    "help": ('help("$0")', "What a name means."),
    "shapeHelp": ('shapeHelp("$0")', "What a shape yields."),
    "serviceVersion": ("serviceVersion()", "The version of the node."),
    "memqlDocs": ("memqlDocs()", "The language in brief."),
    "validate": ("validate({concept: $1, payload: { $0 }})", "Whether a payload fits its concept."),
    "contentId": ("contentId({concept: $1, payload: { $0 }})", "The id a payload would get."),
    "previewInsert": ("previewInsert({concept: $1, payload: { $0 }})", "What an insert would do."),
}

OPERATOR_WORDS: Final[Words] = {
    "in": ("in ($0)", "Equal to one of several values."),
    "not in": ("not in ($0)", "Equal to none of several values."),
    "has": ("has $0", "The list on the left holds the value."),
    "startsWith": ("startsWith $0", "Text begins with another."),
    "matches": ("matches $0", "Full-text search, in web syntax."),
}

TYPE_WORDS: Final[Words] = {
    **{name: (name, f"JSON Schema {dict(schema) or 'anything'}.") for name, schema in SCALARS.items()},
    "enum": ('enum("$1")', "One of the texts."),
    "[]": ("[]${1:string}", "A list."),
    "map": ("map(string, ${1:string})", "An object whose values have one type."),
}

ROOT_WORDS: Final[Words] = {
    "payload": ("payload", "The fields of a row."),
    "args": ("args", "The arguments."),
    "actor": ("actor", "Who calls."),
    "now": ("now", "The instant of the top-level call."),
    "event": ("event", "The event that started the automation: topic, kind, timestamp, actor, payload."),
    "steps": ("steps", "The results of the steps before."),
    "row": ("row", "What every row has."),
    "true": ("true", "A boolean."),
    "false": ("false", "A boolean."),
    "null": ("null", "No value; a missing member is null too."),
}

INTRINSIC_WORDS: Final[Words] = {
    "id": ("id", "The full id: concept and short id."),
    "concept": ("concept", "The concept's id."),
    "type": ("type", "object, collection or reference."),
    "createdAt": ("createdAt", "When this version was written."),
    "createdBy": ("createdBy", "Who wrote this version."),
    "partition": ("partition", 'Always "default".'),
    "payload": ("payload", "The fields of the row."),
    "schema": ("schema", "Which schema validated the row."),
    "provenance": ("provenance", "What wrote the row: kind, name, trigger."),
    "metadata": ("metadata", "The caller's side data."),
}

ACTOR_WORDS: Final[Words] = {
    "userId": ("userId", "The id of the caller's user."),
    "role": ("role", "owner, admin, writer, reader, system or guest."),
    "identityId": ("identityId", "The identity the caller signed in with."),
    "isClusterOwner": ("isClusterOwner", "Whether the caller owns the cluster."),
    "primaryEmail": ("primaryEmail", "The caller's first address."),
    "now": ("now", "The instant of the top-level call."),
    "config": ("config", "Configuration of the node that may be read."),
}

EVENT_WORDS: Final[Words] = {
    "topic": ("topic", "The topic it was published on."),
    "kind": ("kind", "The kind of event."),
    "timestamp": ("timestamp", "When it was published."),
    "actor": ("actor", "Who caused it."),
    "payload": ("payload", "What it carries; of a row's event its fields and id."),
}

PUBLISHED_WORDS: Final[Words] = {
    "topic": ('topic: "$0"', "Where it is published; the roots of the engine's own topics are taken."),
    "payload": ("payload: { $0 }", "What it carries."),
}

ACCESSOR_WORDS: Final[Words] = {
    "Nodes": ("Nodes()", "All elements."),
    "First": ("First()", "The first element, or null."),
    "Last": ("Last()", "The last element, or null."),
    "Len": ("Len()", "How many elements."),
    "Count": ("Count()", "How many elements."),
    "Empty": ("Empty()", "Whether there is none."),
    "Ran": ("Ran()", "Whether the call was made."),
}
