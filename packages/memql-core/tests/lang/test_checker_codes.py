"""Every code of the spec's table of codes: small sources laid over the worked example tree, and what each must give."""

# ruff: noqa: E501 - a source stands on one line, so that its finding does too
from __future__ import annotations

import pytest

from memql.lang.loader import Loaded, Sources, load_tree

ERRORS: tuple[tuple[str, str], ...] = (
    # syntax and retired forms
    ("syntax", "concept { a string }"),
    ("legacy-form", '@scope("global") concept c { a string }'),
    ("legacy-form", "@caller @public query job queryX { filter payload.active }"),
    ("legacy-form", "@useQuery @public query job queryX { filter payload.active }"),
    ("legacy-form", "@public query job queryX { filter payload.customerId == caller.userId }"),
    ("legacy-form", "logic logicX { body { return ctx.user } }"),
    ("legacy-form", "@public query job queryX { filter payload.customerId == actor.partition }"),
    # annotations
    ("unknown-annotation", "@trigger @public query job queryX { filter payload.active }"),
    ("unknown-annotation", "concept c { a string @immutabel }"),
    ("unknown-annotation", "@public\nuse ops.concepts.{ job }\nspec specX { payload.active }"),
    ("bad-annotation", "@public(1) query job queryX { filter payload.active }"),
    ("bad-annotation", '@public @timeout("soon") query job queryX { filter payload.active }'),
    ("bad-annotation", "@public @cache(ttl=301) query job queryX { filter payload.active }"),
    ("bad-annotation", '@role("boss") query job queryX { filter payload.active }'),
    ("bad-annotation", "@public @rateLimit(requests=5) query job queryX { filter payload.active }"),
    ("bad-annotation", '@type("heap") concept c { a string }'),
    ("bad-annotation", "concept c { a string @minLength(1.5) }"),
    ("bad-annotation", '@defaultFilter("payload.a ==") concept c { a string }'),
    ("duplicate-annotation", "@public @public query job queryX { filter payload.active }"),
    # names
    ("duplicate-name", 'spec requiresAdmin { actor.role == "admin" }'),
    ("duplicate-name", "@public query job queryJobs { filter payload.active }"),
    ("duplicate-name", '@executor("a.b") @alias("queryJobs") builtin other { a string }'),
    ("duplicate-field", "concept c { a string a int }"),
    ("duplicate-field", "@public query job queryX { args { a string! a int! } filter payload.title == args.a }"),
    ("duplicate-field", "logic logicX { body { a := 1 a := 2 return a } }"),
    ("duplicate-field", "logic logicX { body { a := 1 for a := range [1] { a } return a } }"),
    ("duplicate-field", "logic logicX { body { return { a: 1, a: 2 } } }"),
    (
        "duplicate-field",
        '@trigger(schedule="0 0 * * *") automation x { step a { logic escalate {} } step a { logic escalate {} } }',
    ),
    ("duplicate-field", '@role("writer") mutation job mutationX { update { id: "a" title: "a" title: "b" } }'),
    ("duplicate-clause", "@public query job queryX { filter payload.active filter payload.active }"),
    ("reserved-name", "@public query job queryX { args { actor string! } filter payload.title == args.actor }"),
    ("reserved-name", "@public query job paginate { filter payload.active }"),
    ("reserved-name", "concept trace { a string }"),
    ("reserved-name", "logic logicX { body { now := 1 return 1 } }"),
    ("reserved-field", "concept c { id string }"),
    ("reserved-field", '@public mutation job mutationX { insert { customerId: "a" title: "b" createdBy: "c" } }'),
    # imports and look-up
    ("unknown-import", "use ops.concept.{ job }\nspec specX { payload.active }"),
    ("unknown-import", "use nowhere.concepts.{ job }\nspec specX { payload.active }"),
    ("unknown-import", "use ops.concepts.{ jobb }\nspec specX { payload.active }"),
    ("import-conflict", "use ops.concepts.{ job, visit as job }\n@public query job queryX { filter payload.active }"),
    (
        "import-conflict",
        'use identity.concepts.{ user }\nconcept user { a string @relationship(type="owns", field="a", target=user) }',
    ),
    ("unresolved", "@public query jobb queryX { filter payload.active }"),
    ("unresolved", "@public query job queryX { filter specNeedsVisits }"),
    ("unresolved", '@public query job queryX { filter title == "x" }'),
    ("unresolved", "@public query job queryX { filter payload.active shape jobCards }"),
    ("unresolved", "@public query job queryX { filter concept == v1:ops:nothing }"),
    ("wrong-kind", "@public query job queryX { filter payload.active == true shape queryJobs }"),
    ("wrong-kind", "@public query job queryX { filter payload.active; jobCard }"),
    ("ambiguous", "logic escalate { args { event object } body { return 1 } }"),
    # layers
    ("layer", "spec specX { payload.active && queryJobs }"),
    ("layer", "@public query job queryX { filter payload.active && logicEscalate({}) }"),
    ("layer", "logic logicX { body { sweepOverdue({}) return 1 } }"),
    ("layer", "policy x { body { y := logicEscalate({}) return y } }"),
    ("layer", '@primary("canCloseJob") policy x { }'),
    ("cqs", '@public query job queryX { filter payload.active && mutationDropJob({jobId: "a"}) }'),
    ("cqs", 'policy x { body { y := mutationDropJob({jobId: "a"}) return y } }'),
    ("cqs", '@role("writer") mutation job mutationX { update { id: queryJobById({jobId: "a"}) title: "b" } }'),
    ("cycle", "trait a { b } trait b { a }"),
    ("cycle", "logic logicX { body { y := logicX({}) return y } }"),
    ("cycle", "logic logicX { body { a := b b := a return a } }"),
    ("cycle", '@primary("y") policy x { } @primary("x") policy y { }'),
    # concepts
    ("bad-version", '@version("0.1.0") concept c { a string }'),
    ("bad-version", '@version("1.0") concept c { a string }'),
    ("bad-namespace", '@namespace("Ops") concept c { a string }'),
    ("bad-concept-name", "concept Case { a string }"),
    ("unknown-type", "concept c { a strng }"),
    ("unknown-type", "concept c { a []strng }"),
    ("unknown-type", "concept c { a string { b string } }"),
    ("bad-constraint", 'concept c { a int @pattern("x") }'),
    ("bad-constraint", 'concept c { a string @pattern("(") }'),
    ("bad-constraint", "concept c { a int @minimum(5) @maximum(2) }"),
    ("bad-constraint", 'concept c { a int @default("x") }'),
    ("bad-constraint", 'concept c { a enum("x", "y") @default("z") }'),
    ("bad-constraint", 'concept c { a int @default("9") @maximum(5) }'),
    ("bad-constraint", 'concept c { a datetime @default("tomorrow") }'),
    ("bad-constraint", 'concept c { a enum("x", "x") }'),
    ("bad-variant", 'concept c { d object @variant(discriminator="k") { x { a int } } }'),
    ("bad-variant", 'concept c { k enum("x", "y") d object @variant(discriminator="k") { x { a int } } }'),
    ("bad-variant", 'concept c { k enum("x") d object @variant(discriminator="k") { x { a int } z { a int } } }'),
    ("bad-relationship", 'concept c { a string @relationship(type="childOf", field="a", target=job) }'),
    ("bad-relationship", 'concept c { a string @relationship(type="parent", field="b", target=job) }'),
    ("bad-relationship", 'concept c { a int @relationship(type="parent", field="a", target=job) }'),
    ("bad-relationship", 'concept c { a string @relationship(type="parent", field="a", target=jobb) }'),
    ("bad-relationship", 'concept c { a string @relationship(type="parent", field="a", target="v2:ops:job") }'),
    ("bad-relationship", 'concept c { a string @relationship(type="parent", field="a", target=job, direction="up") }'),
    ("missing-relationship", '@type("collection") concept c { a string }'),
    (
        "missing-relationship",
        '@type("reference") concept c { a string @relationship(type="owns", field="a", target=job) }',
    ),
    ("bad-display-card", '@displayCard(primary="title") concept c { a string }'),
    ("bad-row-authz", '@rowAuthz(owner="b") concept c { a string }'),
    ("bad-row-authz", '@rowAuthz(owner="a", via="requiresAdmin") concept c { a string }'),
    ("bad-row-authz", '@rowAuthz(via="specNothing") concept c { a string }'),
    ("bad-row-authz", '@rowAuthz(owner="a", public) concept c { a string }'),
    # shapes
    ("shape-kind", "shape job s { payload.title }"),
    ("shape-path", "@row shape job s { payload.titel }"),
    ("shape-path", "@row shape job s { row.identifier }"),
    ("shape-path", "@row shape job s { actor.role }"),
    ("shape-path", "@actor shape job s { payload.title }"),
    ("shape-path", "@public query job queryX { filter payload.active shape customerCard }"),
    ("shape-key", "@row shape job s { row.id payload.title as id }"),
    ("shape-key", "@row shape job s { payload.title include jobCard }"),
    ("unknown-actor-field", "@actor shape s { actor.name }"),
    # predicates
    ("spec-mixed", "spec specX { payload.title == actor.userId }"),
    ("spec-mixed", "spec specX { specNeedsVisit && requiresAdmin }"),
    ("spec-empty", "spec specX { }"),
    ("spec-empty", "spec specX { 1 == 1 }"),
    ("spec-not-boolean", "spec specX { payload.priority + 1 }"),
    ("spec-not-boolean", "@public query job queryX { filter payload.title }"),
    ("spec-outside-shape", '@shape("callerRole") spec specX { actor.userId == "x" }'),
    ("unknown-actor-field", 'spec specX { actor.rolle == "x" }'),
    ("unknown-config-key", 'spec specX { actor.config.password == "x" }'),
    ("undeclared-arg", "@public query job queryX { filter payload.title == args.title }"),
    ("undeclared-arg", "spec specX { payload.title == args.title }"),
    ("unknown-field", '@public query job queryX { filter payload.titel == "x" }'),
    ("unknown-field", "@public query customer queryX { filter traitIsActiveRecord }"),
    ("unknown-field", "@public query job queryX { filter payload.title.length == 1 }"),
    ("unknown-field", "@public query customer queryX { filter payload.prefs.sns == true }"),
    ("unknown-field", '@public query job queryX { filter payload.active sort "payload.titel", "asc" }'),
    ("unknown-field", '@role("writer") mutation job mutationX { update { id: "a" titel: "b" } }'),
    ("unknown-field", "logic logicX { body { a := queryOverdue({ before: now }) return a.First().titel } }"),
    (
        "unknown-field",
        "logic logicX { body { a := queryOverdue({ before: now }) for j := range a { j.payload.titel } return 1 } }",
    ),
    # functions
    ("unknown-function", '@public query job queryX { filter payload.title == lowr("X") }'),
    ("unknown-function", "@public query job queryX { filter payload.title == newId() }"),
    ("unknown-function", "logic logicX { body { return queryOverdue({ before: now }).Size() } }"),
    ("directive-in-body", "@public query job queryX { filter sort(payload.title) }"),
    ("directive-in-body", "logic logicX { body { a := queryOverdue({ before: now }) return paginate(a, 3) } }"),
    ("si-position", '@public query job queryX { filter payload.title == si("jobSummary", {title: "x"}) }'),
    ("bad-argument", 'logic logicX { body { a := queryJobById({ job: "x", jobId: "y" }) return a } }'),
    ("bad-argument", "logic logicX { body { a := queryJobById({}) return a } }"),
    ("bad-argument", 'logic logicX { body { a := queryJobs({ customerId: "x", status: "lost" }) return a } }'),
    ("bad-argument", 'logic logicX { body { a := mutationSetPriority({ jobId: "x", priority: "1" }) return a } }'),
    ("bad-argument", "logic logicX { body { return hash(1, 2) } }"),
    ("bad-argument", 'logic logicX { body { return publishEvent({ topic: "graph.node.created", payload: {} }) } }'),
    ("bad-argument", "logic logicX { body { return publishEvent({ payload: {} }) } }"),
    ("bad-argument", 'logic logicX { body { return secret("X") } }'),
    ("bad-argument", "@public query job queryX { filter payload.active paginate 0 }"),
    ("bad-argument", '@public query job queryX { filter payload.active sort "title", "asc" }'),
    # filters
    ("filter-mixed", "@public query job queryX { filter payload.active; payload.active || payload.active }"),
    ("filter-value", '@public query job queryX { filter lower(payload.title) == "x" }'),
    ("filter-value", '@public query job queryX { filter (payload.title ?? "x") == "x" }'),
    ("filter-value", "@public query job queryX { filter queryJobById({ jobId: payload.customerId }) }"),
    # writes
    (
        "write-count",
        '@public mutation job mutationX { insert { customerId: "b" title: "a" } insert { customerId: "b" title: "a" } }',
    ),
    ("write-concept", '@public mutation job mutationX { update customer { id: "a" title: "x" } }'),
    ("write-id", '@public mutation job mutationX { update { title: "x" } }'),
    ("write-id", '@public mutation job mutationX { delete { reason: "x" } }'),
    ("write-missing", '@public mutation job mutationX { insert { title: "x" } }'),
    ("shorthand-path", '@public mutation job mutationX { args { a object! } update { id: "a" args.a.title } }'),
    ("merge-fields", '@public @mergeFields("title") mutation job mutationX { update { id: "a" title: "x" } }'),
    (
        "merge-fields",
        '@public @mergeFields("prefs") mutation customer mutationX { insert { name: "ab" ownerUserId: "u" } }',
    ),
    # bodies
    ("if-value", "logic logicX { body { a := if true { b := 1 } return a } }"),
    ("unknown-step", "logic logicX { body { overdue := queryOverdue({ before: now }) return overdeu.Len() } }"),
    (
        "unknown-step",
        '@trigger(schedule="0 0 * * *") automation x { step a { logic escalate { event: steps.b.result } } }',
    ),
    ("missing-return", "logic logicX { body { a := 1 } }"),
    ("missing-return", "logic logicX { body { return 1 a := 1 } }"),
    # automations
    ("bad-trigger", "automation x { step a { logic escalate {} } }"),
    (
        "bad-trigger",
        '@trigger(event="node.created", schedule="0 0 * * *") automation x { step a { logic escalate {} } }',
    ),
    ("bad-trigger", '@trigger(event="node.created") automation x { step a { logic escalate {} } }'),
    (
        "bad-trigger",
        '@trigger(event="node.created", concept="v1:ops:jobb") automation x { step a { logic escalate {} } }',
    ),
    (
        "bad-trigger",
        '@trigger(schedule="0 0 * * *") @schedule(cron="0 0 * * *") automation x { step a { logic escalate {} } }',
    ),
    ("bad-cron", '@trigger(schedule="0 61 * * * *") automation x { step a { logic escalate {} } }'),
    ("bad-cron", '@trigger(schedule="hourly") automation x { step a { logic escalate {} } }'),
    ("unresolved", '@trigger(schedule="0 0 * * *") automation x { step a { logic nothing {} } }'),
    # models
    ("bad-executor", "builtin b { a string }"),
    ("bad-executor", '@executor("not a name") builtin b { a string }'),
    ("bad-provider", "provider p { }"),
    ("bad-provider", '@base @type("X") @model("m") provider p { }'),
    ("bad-provider", '@extends("nothing") @model("m") provider p { }'),
    ("bad-provider", '@extends("smallChat") @model("m") provider p { }'),
    (
        "duplicate-default",
        '@type("X") @model("m") @default provider p { } @type("X") @model("n") @default provider q { }',
    ),
    ("bad-policy", "policy p { }"),
    ("bad-policy", '@primary("nothing") policy p { }'),
    ("bad-policy", '@primary("vendor") policy p { }'),
    ("policy-is-spec", 'policy p { return actor.role == "admin" }'),
    ("policy-tier", '@tier("core") policy p { return policy("canCloseJob", { status: "x" }) }'),
    ("bad-template", "prompt p { a string }"),
    ("bad-template", '@templateFile("prompts/none.tmpl") prompt p { a string }'),
    ("bad-template", '@templateFile("prompts/job.tmpl") prompt p { title string }'),
    ("bad-handler", "tool t { a string }"),
    (
        "bad-handler",
        '@handler(type="query", query="queryJobs({customerId: \\"a\\"})") @handler(type="function", name="queryJobs") tool t { a string }',
    ),
    ("bad-handler", '@handler(type="query", name="queryJobs") tool t { a string }'),
    ("bad-handler", '@handler(type="query", query="queryNone({})") tool t { a string }'),
    ("bad-handler", '@handler(type="query", query="queryJobs({customerId: $args.b})") tool t { a string }'),
    ("bad-handler", '@handler(type="query", query="queryJobs({customerId: \\"x$args.a\\"})") tool t { a string }'),
    ("bad-handler", '@handler(type="query", query="queryJobs({")  tool t { a string }'),
    ("bad-handler", '@handler(type="query", query="queryJobs({})") tool t { a string }'),
    ("bad-handler", '@handler(type="function", name="nothing") tool t { a string }'),
    # seeds
    ("bad-seed", 'seed visit v { kind: "party" }'),
    ("bad-seed", 'seed customer v { name: "Xy" ownerUserId: "u" colour: "red" }'),
    ("bad-seed", 'seed customer v { name: "Xy" ownerUserId: "u" prefs { sms: "yes" } }'),
    ("bad-seed", 'seed visit v { jobId: "j" kind: "repair" detail { score: 3 } }'),
    ("seed-id", '@scope("perUser") seed customer v { id: "x" name: "Xy" }'),
    ("seed-id", 'seed customer v { id: "house" name: "Xy" ownerUserId: "u" }'),
    ("seed-owner", '@scope("perUser") seed job v { customerId: "x" title: "Xy" }'),
    # classes and state
    ("unclassified", 'query job queryX { filter payload.title == "x" }'),
    ("unclassified", "query job queryX { filter payload.customerId == actor.userId || payload.active }"),
    ("unclassified", 'mutation job mutationX { insert { customerId: "b" title: "a" } }'),
    ("unclassified", 'mutation job mutationX { update { id: "b" title: "a" } }'),
    ("uses-disabled", "@disabled spec specOff { payload.active } @enabled @public query job queryX { filter specOff }"),
)

WARNINGS: tuple[tuple[str, str], ...] = (
    ("unused-import", "use ops.concepts.{ job }\nspec specX { payload.active }"),
    ("implicit-import", "@public query user queryX { filter payload.active }"),
    ("optional-arg-unguarded", "@public query job queryX { args { title string } filter payload.title == args.title }"),
    ("naming", "@public query job jobs { filter payload.active }"),
    ("naming", "spec busy { payload.active }"),
    (
        "redundant-filter",
        '@trigger(event="node.created", concept="v1:ops:job") @filter(payload.concept == "v1:ops:job") automation x { step a { logic escalate {} } }',
    ),
    (
        "redundant-filter",
        '@trigger(event="node.created", concept="v1:ops:job") @filter(topic == "graph.node.deleted.v1:ops:job") automation x { step a { logic escalate {} } }',
    ),
    (
        "uses-disabled",
        "@public query job queryOff { filter payload.active } logic logicX { body { a := queryOff({}) return a } }",
    ),
    (
        "deprecated",
        '@enabled @public @deprecated("use queryJobs") query job queryOld { filter payload.active } logic logicX { body { a := queryOld({}) return a } }',
    ),
)

VALID: tuple[str, ...] = (
    "@public query job queryAll { }",
    "@public query job queryCount { count }",
    '@public query job queryThen { filter payload.active asOf addDuration(now, "-P1D") }',
    "@public query job queryMany { args { limit int! } filter payload.active paginate args.limit }",
    '@public query job queryNames { filter payload.title startsWith "B" sort "payload.dueAt", "asc", "createdAt", "desc" }',
    "@public query job queryOpen { args { s string } filter ?.payload.status == args.s }",
    '@public query job queryOpen { args { s string @default("open") } filter payload.status == args.s }',
    '@public query job queryOpen { args { s string } filter payload.status == (args.s ?? "open") }',
    '@public query job queryOpen { args { s string } filter payload.status == coalesce(args.s, "open") }',
    "query job queryMine { filter childOf(concept == v1:ops:customer && payload.ownerUserId == actor.userId) }",
    "spec specMine { childOf(payload.ownerUserId == actor.userId) } query job queryMine { filter specMine; payload.active }",
    "query job queryMine { filter createdBy == actor.userId }",
    'query customer queryMine { filter queryMyCustomers({}); payload.tier == "gold" }',
    "query job queryAdmin { filter payload.active; actor.isClusterOwner }",
    "@public query visit queryBad { filter payload.detail.score < 50; payload.detail.minutes == null }",
    "@row @actor shape s { row.id row.createdAt actor.userId }",
    "@row shape s { payload.active } @public query job queryShaped { filter payload.active shape s }",
    "@row shape job s { include jobCard payload.dueAt }",
    "concept c { a string } mutation c mutationC { args { payload object! } insert { args.payload } } ".replace(
        "mutation c", "@public mutation c", 1
    ),
    'mutation customer mutationNew { insert { name: "Xy" ownerUserId: actor.userId } }',
    "mutation customer mutationEnd { args { customerId string! } delete { id: args.customerId } }",
    "logic logicLater { body { a := b + 1 b := 2 return a } }",
    'logic logicEither { args { n int! } body { if args.n > 1 { return 1 } else { publishEvent({ topic: "x.y", payload: {} }) } return 2 } }',
    'logic logicAsk { body { a := si("jobSummary", { title: "x" }, "smallChat", 60) return a } }',
    'logic logicFar { body { return geoDistanceKm({ origin: secret("HOME"), target: "x" }) } }',
    "policy mayClose { args { n int! } body { a := queryOverdue({ before: now }) return a.Len() > args.n } }",
    '@trigger(event="ops.#") @filter(payload.a.b.c == 1 && lower(payload.x) == "y") automation x { args { a object } step a { publishEvent { topic: "ops.y", payload: { a: args.a } } } }',
    '@trigger(event="node.updated", concept=job) automation x { step a { if event.payload.oldStatus == "open" { logic escalate { event: event } } } step b { logic escalate { event: steps.a.result } } }',
    '@trigger(event="node.created", concept="ops.job") automation x { args { title string! } step a { automation sweepOverdue {} } }',
    '@schedule(cron="*/5 8-18 * * mon-fri") automation x { step a { logic escalate {} } }',
    '@handler(type="function", name="geoDistanceKm") tool t { origin string! target string! }',
    '@type("collection") concept c { ids []string @relationship(type="contains", field="ids", target=job) }',
    '@version("2.0.0") concept job { a string }',
    "@deprecated @public query job queryOld { filter payload.active }",
    '@executor("a.b") @args(profile="stringOrObject", stringKey="text") builtin say { text string! } logic logicX { body { return 1 } }',
    'seed visit v { jobId: "j" kind: "repair" detail { minutes: 3 } }',
    '@defaultFilter("traitIsActiveRecord") concept c { active bool }',
    'concept node { parentId string @relationship(type="parent", field="parentId", target=node) }',
)


def check(tree: Sources, source: str) -> Loaded:
    return load_tree(tree.over(Sources({"ops/extra.memql": source})))


@pytest.mark.parametrize(("code", "source"), ERRORS, ids=lambda text: text[:60])
def test_an_error_is_told_under_its_code_and_no_other(ops_tree: Sources, code: str, source: str) -> None:
    loaded = check(ops_tree, source)
    errors = [finding for finding in loaded.findings if finding.severity == "error"]
    assert {finding.code for finding in errors} == {code}, [str(finding) for finding in errors]
    assert loaded.catalog is None
    assert all(finding.span.file.endswith(".memql") and finding.span.line and finding.span.column for finding in errors)


@pytest.mark.parametrize(("code", "source"), WARNINGS, ids=lambda text: text[:60])
def test_a_warning_is_told_and_the_tree_still_loads(ops_tree: Sources, code: str, source: str) -> None:
    loaded = check(ops_tree, source)
    assert {(finding.severity, finding.code) for finding in loaded.findings} == {("warning", code)}
    assert loaded.catalog is not None


@pytest.mark.parametrize("source", VALID, ids=lambda text: text[:60])
def test_what_the_language_allows_gives_no_finding(ops_tree: Sources, source: str) -> None:
    loaded = check(ops_tree, source)
    assert [str(finding) for finding in loaded.findings] == []
