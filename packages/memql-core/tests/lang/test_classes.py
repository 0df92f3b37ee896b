# ruff: noqa: E501 - a table reads best with one case on a line
from __future__ import annotations

import pytest

from memql.lang.loader import Sources, load_tree

QUERIES = (
    ("public", '@public query job {name} {{ filter payload.title == "x" }}'),
    ("public", '@public @role("admin") query job {name} {{ filter createdBy == actor.userId }}'),
    ("owned", "query job {name} {{ filter createdBy == actor.userId }}"),
    ("owned", "query job {name} {{ filter actor.userId == payload.customerId; payload.active }}"),
    ("owned", '@role("admin") query job {name} {{ filter createdBy == actor.userId }}'),
    ("owned", 'query customer {name} {{ filter payload.tier == "gold" }}'),
    (
        "owned",
        'spec specMine {{ payload.active && createdBy == "x" }} query customer {name} {{ filter queryMyCustomers({{}}) }}',
    ),
    ("granted", "query job {name} {{ filter childOf(payload.ownerUserId == actor.userId) }}"),
    (
        "granted",
        "spec specHis {{ childOf(payload.ownerUserId == actor.userId) }} query job {name} {{ filter specHis }}",
    ),
    ("granted", "@internal query job {name} {{ filter owns(createdBy == actor.userId); payload.active }}"),
    ("admin", "query job {name} {{ filter actor.isClusterOwner }}"),
    ("admin", 'query job {name} {{ filter payload.active; actor.role == "admin" }}'),
    ("admin", "query job {name} {{ filter requiresAdmin }}"),
    ("admin", "@internal query job {name} {{ filter payload.active }}"),
    ("admin", '@permission("jobs:read") query job {name} {{ }}'),
    ("admin", "query globalSecret {name} {{ }}"),
)

UNCLASSIFIED = (
    "query job {name} {{ }}",
    "query job {name} {{ filter payload.active || createdBy == actor.userId }}",
    "query job {name} {{ filter !(createdBy == actor.userId) }}",
    "query job {name} {{ filter createdBy != actor.userId }}",
    "query job {name} {{ args {{ a string }} filter when(args.a) {{ createdBy == actor.userId }} }}",
    'query job {name} {{ filter childOf(payload.tier == "gold") }}',
    'spec specAny {{ payload.active || createdBy == "x" }} query job {name} {{ filter specAny }}',
)

INSERTS = (
    ("public", '@public mutation customer {name} {{ insert {{ name: "Xy" ownerUserId: "u" }} }}'),
    ("owned", 'mutation customer {name} {{ insert {{ name: "Xy" ownerUserId: actor.userId }} }}'),
    ("admin", '@role("writer") mutation job {name} {{ insert {{ customerId: "c" title: "x" }} }}'),
    ("admin", '@internal mutation job {name} {{ insert {{ customerId: "c" title: "x" }} }}'),
    ("admin", 'mutation globalVariable {name} {{ filter requiresClusterOwner insert {{ name: "x" value: "y" }} }}'),
)


def source(template: str, name: str) -> Sources:
    text = template.format(name=name)
    last = text.rindex("query " if name.startswith("query") else "mutation ")
    marks = text[:last].rfind("} ")
    at = marks + 2 if marks >= 0 else 0
    uses = "use platform.concepts.{ globalSecret, globalVariable }\n"
    return Sources({"ops/extra.memql": uses + text[:at] + "@enabled " + text[at:]})


@pytest.mark.parametrize(("access", "template"), QUERIES)
def test_a_query_gets_the_first_class_that_matches(ops_tree: Sources, access: str, template: str) -> None:
    catalog = load_tree(ops_tree.over(source(template, "queryX"))).require()
    assert catalog.queries["queryX"].access == access


@pytest.mark.parametrize("template", UNCLASSIFIED)
def test_a_query_without_a_class_does_not_load(ops_tree: Sources, template: str) -> None:
    findings = load_tree(ops_tree.over(source(template, "queryX"))).findings
    assert {finding.code for finding in findings if finding.severity == "error"} == {"unclassified"}


@pytest.mark.parametrize(("access", "template"), INSERTS)
def test_an_insert_is_classified_by_what_it_stamps(ops_tree: Sources, access: str, template: str) -> None:
    catalog = load_tree(ops_tree.over(source(template, "mutationX"))).require()
    assert catalog.mutations["mutationX"].access == access


def test_a_row_rule_for_owners_does_not_classify_an_insert(ops_tree: Sources) -> None:
    template = 'mutation customer {name} {{ insert {{ name: "Xy" ownerUserId: "u" }} }}'
    findings = load_tree(ops_tree.over(source(template, "mutationX"))).findings
    assert "unclassified" in {finding.code for finding in findings}


def test_an_update_is_classified_by_its_filter(ops_tree: Sources) -> None:
    template = 'mutation job {name} {{ filter createdBy == actor.userId update {{ id: "x" active: false }} }}'
    catalog = load_tree(ops_tree.over(source(template, "mutationX"))).require()
    assert catalog.mutations["mutationX"].access == "owned"


def test_a_row_rule_through_a_spec_grants_reads_and_inserts(ops_tree: Sources) -> None:
    text = """
        @rowAuthz(via="specOwnDeal")
        concept deal {
          customerId string!
          @relationship(type="parent", field="customerId", target=customer)
        }
        spec specOwnDeal { childOf(concept == v1:ops:customer && payload.ownerUserId == actor.userId) }
        @enabled query deal queryDeals { }
        @enabled mutation deal mutationDeal { insert { customerId: "c" } }
    """
    catalog = load_tree(ops_tree.over(Sources({"ops/extra.memql": text}))).require()
    assert catalog.concepts["v1:ops:deal"].row_rule is not None
    assert catalog.concepts["v1:ops:deal"].row_rule.via == "specOwnDeal"
    assert catalog.queries["queryDeals"].access == "granted"
    assert catalog.mutations["mutationDeal"].access == "granted"
