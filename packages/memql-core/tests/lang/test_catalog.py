from __future__ import annotations

import hashlib

import jsonschema_rs
import pytest
import rfc8785

from memql.lang import ast
from memql.lang.catalog import Catalog, Trigger
from memql.lang.loader import Sources, load_tree
from memql.lang.schemas import tombstone_schema


@pytest.fixture(scope="module")
def catalog(ops_tree: Sources) -> Catalog:
    return load_tree(ops_tree).require()


def load(tree: Sources, text: str) -> Catalog:
    return load_tree(tree.over(Sources({"ops/extra.memql": text}))).require()


# --- concepts --------------------------------------------------------------------------------------------------------


def test_a_concept_has_its_id_version_and_schema_id(catalog: Catalog) -> None:
    job = catalog.concepts["v1:ops:job"]
    assert (job.key, job.name, job.namespace, job.version, job.schema_id) == (
        "v1:ops:job", "job", "ops", "1.2.0", "v1.ops.job",
    )  # fmt: skip


def test_defaults_are_parsed_by_type(catalog: Catalog) -> None:
    job = catalog.concepts["v1:ops:job"]
    defaults = {field.name: field.default for field in job.fields if field.has_default}
    assert defaults == {"status": "open", "priority": 3, "active": True}


def test_a_payload_schema_is_closed_and_accepted_by_the_validator(catalog: Catalog) -> None:
    for concept in catalog.concepts.values():
        assert concept.json_schema["additionalProperties"] is False
        jsonschema_rs.validator_for(dict(concept.json_schema), validate_formats=True)
        jsonschema_rs.validator_for(tombstone_schema(concept.schema_id))


@pytest.mark.parametrize(
    ("payload", "valid"),
    [
        ({"jobId": "j", "kind": "repair", "detail": {"minutes": 5}}, True),
        ({"jobId": "j", "kind": "inspection", "detail": {"score": 100}}, True),
        ({"jobId": "j", "kind": "repair"}, True),
        ({"jobId": "j", "kind": "inspection", "detail": {"minutes": 5}}, False),
        ({"jobId": "j", "kind": "inspection", "detail": {"score": 101}}, False),
        ({"jobId": "j", "kind": "repair", "detail": {"minutes": 5, "score": 1}}, False),
        ({"jobId": "j", "kind": "party"}, False),
        ({"jobId": "j", "kind": "repair", "extra": 1}, False),
        ({"kind": "repair"}, False),
    ],
)
def test_a_variant_is_validated_by_its_discriminator(catalog: Catalog, payload: dict[str, object], valid: bool) -> None:
    schema = catalog.concepts["v1:ops:visit"].json_schema
    assert jsonschema_rs.validator_for(dict(schema), validate_formats=True).is_valid(payload) is valid


@pytest.mark.parametrize(("due", "valid"), [("2026-03-05T00:00:00Z", True), ("2026-03-05", False), (5, False)])
def test_instants_are_asserted(catalog: Catalog, due: object, valid: bool) -> None:
    schema = catalog.concepts["v1:ops:job"].json_schema
    payload = {"customerId": "c", "title": "t", "dueAt": due}
    assert jsonschema_rs.validator_for(dict(schema), validate_formats=True).is_valid(payload) is valid


def test_items_of_a_list_block_are_closed(catalog: Catalog) -> None:
    schema = catalog.concepts["v1:identity:user"].json_schema
    acceptance = {"documentType": "tos", "version": "1", "acceptedAt": "2026-03-05T00:00:00Z"}
    validator = jsonschema_rs.validator_for(dict(schema), validate_formats=True)
    user = {"displayName": "U", "primaryEmail": "u@example.org"}
    assert validator.is_valid({**user, "legalAcceptance": [acceptance]})
    assert not validator.is_valid({**user, "legalAcceptance": [{**acceptance, "extra": 1}]})


def test_the_schema_hash_is_that_of_the_canonical_json(catalog: Catalog) -> None:
    job = catalog.concepts["v1:ops:job"]
    assert job.schema_hash == hashlib.sha256(rfc8785.dumps(dict(job.json_schema))).hexdigest()


def test_documentation_does_not_change_a_schema(ops_tree: Sources) -> None:
    plain = load(ops_tree, "concept c { a string }").concepts["v1:ops:c"]
    told = load(ops_tree, '/// More.\nconcept c { /// Text.\n a string @description("x") }').concepts["v1:ops:c"]
    assert plain.schema_hash == told.schema_hash
    assert told.annotations.description == "More."
    assert told.fields[0].description == "Text."


def test_relationships_are_resolved_to_concept_ids(catalog: Catalog) -> None:
    pairs = {
        (name, one.type, one.field, one.target, one.many)
        for name, concept in catalog.concepts.items()
        for one in concept.relationships
    }
    assert ("v1:ops:customer", "references", "ownerUserId", "v1:identity:user", False) in pairs
    assert ("v1:ops:route", "contains", "jobIds", "v1:ops:job", True) in pairs


def test_paths_are_followed_through_blocks_variants_and_lists(catalog: Catalog) -> None:
    user, visit = catalog.concepts["v1:identity:user"], catalog.concepts["v1:ops:visit"]
    score, accepted = visit.path(("detail", "score")), user.path(("legalAcceptance", 0, "acceptedAt"))
    assert score is not None
    assert score.type == ast.ScalarType("int")
    assert accepted is not None
    assert accepted.is_datetime
    assert user.path(("groupIds", 0)) is None
    assert user.path(("preferences", "nothing")) is None


def test_a_relationship_on_a_field_belongs_to_the_concept(ops_tree: Sources) -> None:
    text = 'concept c { a string @relationship(type="parent", field="b", target=job) b string }'
    assert load(ops_tree, text).concepts["v1:ops:c"].relationships[0].field == "b"


def test_majors_of_a_concept_stand_side_by_side(ops_tree: Sources) -> None:
    text = """
        @version("2.0.0") concept job { label string! }
        @enabled @public query job queryOld { filter payload.title == "x" }
        @enabled @public @version("2.0.0") query job queryNew { filter payload.label == "x" }
    """
    catalog = load_tree(
        ops_tree.over(Sources({"ops/jobs2.memql": text.splitlines()[1], "ops/q.memql": text.split("}", 1)[1]}))
    )
    queries = catalog.require().queries
    assert queries["queryOld"].concept == "v1:ops:job"
    assert queries["queryNew"].concept == "v2:ops:job"
    assert queries["queryJobs"].concept == "v1:ops:job"


def test_a_row_rule_is_kept(catalog: Catalog) -> None:
    rule = catalog.concepts["v1:ops:customer"].row_rule
    assert rule is not None
    assert rule.owner == "ownerUserId"
    assert catalog.concepts["v1:platform:globalSecret"].secret_store


def test_a_default_filter_is_parsed_and_its_names_are_in_scope(ops_tree: Sources) -> None:
    concept = load(ops_tree, '@defaultFilter("traitIsActiveRecord") concept c { active bool }').concepts["v1:ops:c"]
    assert concept.default_filter == ast.Name("traitIsActiveRecord")
    assert concept.scope.predicates == {"traitIsActiveRecord": "traitIsActiveRecord"}


# --- reads and writes ------------------------------------------------------------------------------------------------


def test_the_scope_holds_what_names_resolved_to(catalog: Catalog) -> None:
    query = catalog.queries["queryJobs"]
    assert query.scope.concepts == {"job": "v1:ops:job", "customer": "v1:ops:customer"}
    assert query.scope.shapes == {"jobCard": "jobCard"}
    assert catalog.queries["queryUrgentJobs"].scope.predicates == {
        "specNeedsVisit": "specNeedsVisit",
        "traitIsActiveRecord": "traitIsActiveRecord",
        "requiresAdmin": "requiresAdmin",
    }


def test_an_alias_is_the_name_in_the_scope(ops_tree: Sources) -> None:
    text = "use identity.concepts.{ user as person }\n@enabled @public query person queryPeople { }"
    query = load(ops_tree, text).queries["queryPeople"]
    assert query.concept == "v1:identity:user"
    assert query.scope.concepts == {"person": "v1:identity:user"}


def test_arguments_have_their_schema(catalog: Catalog) -> None:
    args = {arg.name: arg for arg in catalog.queries["queryJobs"].args}
    assert args["customerId"].required
    assert args["status"].json_schema == {"type": "string", "enum": ["open", "scheduled", "done"]}
    assert args["dueBefore"].json_schema == {"type": "string", "format": "date-time"}


def test_shapes_are_expanded(ops_tree: Sources) -> None:
    shape = load(ops_tree, "@row shape job wide { include jobCard payload.dueAt as due }").shapes["wide"]
    assert [(item.key, item.path) for item in shape.items] == [
        ("id", ("row", "id")),
        ("title", ("payload", "title")),
        ("status", ("payload", "status")),
        ("priority", ("payload", "priority")),
        ("due", ("payload", "dueAt")),
    ]


def test_context_specs_are_told_from_row_specs(catalog: Catalog) -> None:
    assert catalog.specs["requiresAdmin"].is_context
    assert not catalog.specs["specNeedsVisit"].is_context
    assert catalog.specs["traitIsActiveRecord"].is_trait


def test_a_spec_that_names_context_specs_is_one(ops_tree: Sources) -> None:
    assert load(ops_tree, "spec requiresBoth { requiresAdmin; requiresClusterOwner }").specs["requiresBoth"].is_context


# --- bodies, automations, models, tools, seeds -----------------------------------------------------------------------


def test_statements_run_in_source_order_but_after_what_they_refer_to(ops_tree: Sources) -> None:
    text = 'logic logicX { body { a := c + 1 mutationDropJob({ jobId: "x" }) b := 1 c := b return a } }'
    assert load(ops_tree, text).logics["logicX"].order == (1, 2, 3, 0, 4)


def test_a_step_finds_its_logic_without_the_prefix(catalog: Catalog) -> None:
    automation = catalog.automations["poorInspection"]
    assert automation.scope.calls == {"followUp": "logicFollowUp"}
    assert automation.trigger == Trigger(pattern="graph.node.created.v1:ops:visit")
    assert catalog.automations["sweepOverdue"].trigger == Trigger(schedule="0 15 6 * * *")


def test_a_schedule_of_five_fields_fires_at_second_zero(ops_tree: Sources) -> None:
    text = '@enabled @schedule(cron="15 6 * * *") automation x { step a { logic escalate {} } }'
    assert load(ops_tree, text).automations["x"].trigger == Trigger(schedule="0 15 6 * * *")


def test_an_automation_may_run_another(ops_tree: Sources) -> None:
    text = '@enabled @trigger(event="a.b") automation x { step a { automation sweepOverdue {} } }'
    assert load(ops_tree, text).automations["x"].automations == {"sweepOverdue": "sweepOverdue"}


def test_a_provider_takes_over_what_its_base_has(catalog: Catalog) -> None:
    provider = catalog.providers["smallChat"]
    assert (provider.type, provider.extends, provider.modality) == ("OpenAI", "vendor", "chat")
    assert provider.auth == {"apiKey": ast.EnvRef("OPS_LLM_KEY")}
    assert provider.params == {"contextWindow": 8192}


def test_a_disabled_base_takes_its_children_along(ops_tree: Sources) -> None:
    off = ops_tree.files["ops/providers.memql"].replace("@base", "@disabled @base")
    loaded = load_tree(ops_tree.over(Sources({"ops/providers.memql": off})))
    assert "smallChat" not in loaded.require().providers
    assert {finding.code for finding in loaded.findings} == {"uses-disabled"}


def test_a_prompt_knows_its_template_and_who_answers(catalog: Catalog) -> None:
    prompt = catalog.prompts["jobSummary"]
    assert prompt.provider == "quickSummary"
    assert prompt.template == "Job {{.title}}: {{json .visits}}"
    assert catalog.policies["quickSummary"].primary == "smallChat"


def test_a_tool_binds_arguments_typed_whether_quoted_or_not(catalog: Catalog) -> None:
    tool = catalog.tools["jobLookup"]
    assert isinstance(tool.query, ast.CallRead)
    argument = tool.query.call.args[0]
    assert isinstance(argument, ast.ObjectExpr)
    assert dict(argument.entries) == {
        "customerId": ast.Member(ast.Var("args"), "customerId"),
        "status": ast.Member(ast.Var("args"), "status"),
    }
    assert tool.input_schema == {
        "type": "object",
        "properties": {"customerId": {"type": "string"}, "status": {"type": "string", "enum": ["open", "done"]}},
        "required": ["customerId"],
        "additionalProperties": False,
    }


def test_seeds_are_payloads(catalog: Catalog) -> None:
    seed = catalog.seeds["houseAccount"]
    assert (seed.concept, seed.id, seed.per_user) == ("v1:ops:customer", "house", False)
    assert seed.payload == {"name": "House", "ownerUserId": "boss", "prefs": {"sms": False}}
    assert catalog.seeds["starter"].per_user


def test_the_text_of_a_template_is_the_system_prompt_of_a_seed(ops_tree: Sources) -> None:
    text = 'concept helper { systemPrompt string! } @templateFile("prompts/job.tmpl") seed helper first { }'
    assert load(ops_tree, text).seeds["first"].payload == {"systemPrompt": "Job {{.title}}: {{json .visits}}"}


def test_what_is_not_enabled_is_checked_but_not_registered(ops_tree: Sources) -> None:
    catalog = load(ops_tree, '@public query job queryOff { filter payload.title == "x" }')
    assert "queryOff" not in catalog.queries
    assert catalog.disabled == {"queryOff": "query"}
    assert catalog.callable("queryOff") is None


def test_a_builtin_answers_to_its_aliases(ops_tree: Sources) -> None:
    catalog = load(ops_tree, '@enabled @executor("a.b") @alias("far") builtin distance { a string }')
    assert catalog.callable("far") is catalog.builtins["distance"]


def test_executors_are_held_against_those_registered(ops_tree: Sources) -> None:
    shipped = {"integration.si.embedText", "integration.si.similarTexts"}
    assert load_tree(ops_tree, executors={*shipped, "integration.geo.distanceKm"}).catalog is not None
    loaded = load_tree(ops_tree, executors={*shipped, "integration.geo.distanceMiles"})
    assert [finding.code for finding in loaded.findings] == ["bad-executor"]
    assert "did you mean" in loaded.findings[0].message
