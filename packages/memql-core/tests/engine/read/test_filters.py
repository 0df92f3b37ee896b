"""What filters select, which rows they are about, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from memql.errors import Code, MemqlError

from .conftest import BOSS, SYSTEM, U1, Lab

pytestmark = pytest.mark.anyio

SAMPLE = "v1:lab:sample"


async def refused(lab: Lab, text: str, code: Code, **variables: Any) -> MemqlError:
    with pytest.raises(MemqlError) as caught:
        await lab.read(text, SYSTEM, **variables)
    assert caught.value.code is code, str(caught.value)
    return caught.value


@pytest.fixture
async def samples(lab: Lab) -> Lab:
    await lab.put(SAMPLE, "s1", {"grade": "a", "size": 5, "tags": ["x", "y"], "alive": True})
    await lab.put(SAMPLE, "s2", {"grade": "b", "size": 10, "tags": ["y"], "alive": False})
    await lab.put(SAMPLE, "s3", {"grade": "a", "size": 20, "place": {"city": "Bern", "spot": {"x": 1}}})
    return lab


async def test_a_filter_must_say_which_rows_it_is_about(ops: Lab) -> None:
    await refused(ops, 'id=="j1"', Code.INVALID_ARGUMENT)
    await refused(ops, 'payload.title=="Boiler"', Code.INVALID_ARGUMENT)
    await refused(ops, "concept==v1:ops:job || payload.active==true", Code.INVALID_ARGUMENT)
    await refused(ops, "!(concept==v1:ops:job)", Code.INVALID_ARGUMENT)
    error = await refused(ops, "concept==v1:ops:jbo", Code.UNKNOWN_CONCEPT)
    assert error.suggestion == {"didYouMean": "v1:ops:job"}


async def test_a_full_id_always_works_and_a_bare_one_needs_one_concept_in_its_list(ops: Lab) -> None:
    assert await ops.shorts('id=="v1:ops:job:j1"') == ["j1"]
    assert await ops.shorts('id in ("v1:ops:job:j1", "v1:ops:customer:acme")') == ["j1", "acme"]
    assert await ops.shorts('concept==v1:ops:job;id in ("j1","v1:ops:job:j4")') == ["j4", "j1"]
    assert await ops.shorts('(concept==v1:ops:job && id=="j1") || (concept==v1:ops:route && id=="r1")') == ["r1", "j1"]
    assert await ops.shorts('concept==v1:ops:job;id=="v1:ops:customer:acme"') == []
    await refused(ops, 'concept in (v1:ops:job, v1:ops:route);id=="j1"', Code.INVALID_ARGUMENT)


async def test_all_rows_of_a_concept_have_a_short_form(ops: Lab) -> None:
    assert await ops.shorts('id=="v1:ops:job:*"') == ["j4", "j3", "j2", "j1"]
    assert await ops.shorts('id=="v1:ops:job:*";payload.priority==2') == ["j4", "j3"]


async def test_a_variable_may_hold_the_full_id_that_names_the_concept(ops: Lab) -> None:
    assert await ops.shorts("id==$x", x="v1:ops:job:j1") == ["j1"]
    assert await ops.shorts("id==$x", x="v1:ops:customer:acme") == ["acme"]
    assert await ops.shorts("concept==v1:ops:job;id==$x", x="j2") == ["j2"]
    await refused(ops, "id==$x", Code.INVALID_ARGUMENT, x="j1")
    await refused(ops, "concept==v1:ops:job;id==$y", Code.INVALID_ARGUMENT, x="j1")


async def test_a_path_no_concept_has_is_refused_with_the_nearest_one(samples: Lab) -> None:
    error = await refused(samples, 'concept==v1:lab:sample;payload.lable=="x"', Code.INVALID_ARGUMENT)
    assert error.suggestion == {"didYouMean": "payload.label"}
    error = await refused(samples, "concept==v1:lab:sample;payload.place.spot.z==1", Code.INVALID_ARGUMENT)
    assert "payload.place.spot" in error.message
    await refused(samples, "concept==v1:lab:sample;payload.size.x==1", Code.INVALID_ARGUMENT)
    await refused(samples, 'concept==v1:lab:sample;title=="x"', Code.INVALID_ARGUMENT)
    assert await samples.shorts("concept==v1:lab:sample;payload.extra.any.depth==nil;payload.size==5") == ["s1"]


async def test_nested_paths_lists_and_flags_are_filtered_at_any_depth(samples: Lab) -> None:
    assert await samples.shorts('concept==v1:lab:sample;payload.place.city=="Bern"') == ["s3"]
    assert await samples.shorts("concept==v1:lab:sample;payload.place.spot.x + 1 == 2") == ["s3"]
    assert await samples.shorts('concept==v1:lab:sample;payload.tags.1=="y"') == ["s1"]
    assert await samples.shorts('concept==v1:lab:sample;payload.tags has "y"') == ["s2", "s1"]
    assert await samples.shorts("concept==v1:lab:sample;payload.alive") == ["s1"]
    assert await samples.shorts("concept==v1:lab:sample;!payload.alive") == ["s3", "s2"]
    assert await samples.shorts('concept==v1:lab:sample;metadata.batch.no==7;provenance.kind=="direct"') == [
        "s3",
        "s2",
        "s1",
    ]


async def test_specs_traits_inline_specs_and_queries_stand_in_filters_by_name(samples: Lab) -> None:
    assert await samples.shorts("concept==v1:lab:sample;specBig") == ["s3", "s2"]
    assert await samples.shorts("concept==v1:lab:sample;!specBig;traitAlive") == ["s1"]
    assert await samples.shorts("small := payload.size < 10 concept==v1:lab:sample;small") == ["s1"]
    assert await samples.shorts('queryGraded({grade:"a"});payload.size==20') == ["s3"]
    assert await samples.shorts('queryBigGraded({grade:"a"})') == ["s3"]
    assert await samples.shorts('queryBigGraded(grade: "b")') == ["s2"]
    error = await refused(samples, "concept==v1:lab:sample;specBigg", Code.INVALID_ARGUMENT)
    assert error.suggestion == {"didYouMean": "specBig"}
    await refused(samples, "loop := loop concept==v1:lab:sample;loop", Code.INVALID_ARGUMENT)


async def test_optional_terms_leave_their_list_when_the_argument_is_not_given(samples: Lab) -> None:
    assert await samples.shorts("querySamples({})") == ["s1", "s2", "s3"]
    assert await samples.shorts('querySamples({grade:"a"})') == ["s1", "s3"]
    assert await samples.shorts('querySamples({grade:"a", min: 10})') == ["s3"]
    assert await samples.shorts('querySamples({grade:"a", min: null, tag: "x"})') == ["s1"]
    assert await samples.shorts('querySamples({grade:""})') == []


async def test_a_bare_comparison_with_an_omitted_argument_is_refused(samples: Lab) -> None:
    error = await refused(samples, "queryGraded({})", Code.INVALID_ARGUMENT)
    assert "args.grade" in error.message
    await refused(samples, 'queryGraded({grades:"a"})', Code.INVALID_ARGUMENT)


async def test_functions_of_row_data_are_refused_and_row_free_ones_folded(samples: Lab) -> None:
    error = await refused(samples, 'concept==v1:lab:sample;lower(payload.label)=="x"', Code.INVALID_ARGUMENT)
    assert error.details == {"code": "filter-value"}
    assert await samples.shorts('concept==v1:lab:sample;payload.grade==lower("A")') == ["s3", "s1"]
    await refused(samples, "concept==v1:lab:sample;payload.size < 1/0", Code.INVALID_ARGUMENT)


async def test_values_are_bound_and_never_part_of_the_statement(samples: Lab) -> None:
    for hostile in ("' OR true --", "$1", "%s", "\\", '"', "}'; DROP TABLE memory_heads; --", "\x00"):
        assert await samples.shorts("concept==v1:lab:sample;payload.grade==$x", x=hostile) == []
        assert await samples.shorts("concept==v1:lab:sample;payload.tags has $x", x=hostile) == []
        assert await samples.shorts("concept==v1:lab:sample;payload.grade in $x", x=[hostile, "b"]) == ["s2"]
        assert await samples.shorts("concept==v1:lab:sample;payload.extra == $x", x={hostile: hostile}) == []
    assert len(await samples.shorts("concept==v1:lab:sample")) == 3


async def test_a_stored_value_of_another_type_compares_false_and_never_fails(lab: Lab) -> None:
    await lab.put(SAMPLE, "odd", {"size": "ten", "seenAt": 5, "alive": "yes", "tags": "x", "grade": 1, "counts": {}})
    for condition in (
        "payload.size > 1", 'payload.seenAt < "2030-01-01"', "payload.alive", 'payload.tags has "x"',
        'payload.grade in ("a","1")', "payload.size + 1 > 0", "payload.counts has 1", "payload.size / 0 == 1",
        'payload.grade startsWith "1"', 'payload.grade matches "1"',
    ):  # fmt: skip
        assert await lab.shorts(f"concept==v1:lab:sample;{condition}") == [], condition
        assert await lab.shorts(f"concept==v1:lab:sample;!({condition})") == ["odd"], condition


async def test_context_specs_fold_to_nothing_without_asking_the_database(ops: Lab) -> None:
    query = ops.catalog.queries["queryUrgentJobs"]
    denied = await ops.reader.query(query, {}, ops.context(U1))
    assert (denied.data, denied.meta.count) == ((), 0)
    bound = ops.reader._named[id(query)].declared.evaluate(_env(ops, U1))
    assert bound.statement is None
    allowed = await ops.reader.query(query, {}, ops.context(BOSS))
    assert [row["id"] for row in allowed.decoded_data()] == ["v1:ops:job:j3", "v1:ops:job:j1"]


def _env(lab: Lab, actor: Any) -> Any:
    from memql.engine.values import Env

    return Env.of(lab.context(actor))


async def test_a_filter_on_a_foreign_key_takes_bare_and_full_ids(ops: Lab) -> None:
    assert await ops.shorts('concept==v1:ops:job;payload.customerId=="bolt"') == ["j4"]
    assert await ops.shorts('concept==v1:ops:job;payload.customerId=="v1:ops:customer:bolt"') == ["j4"]
    assert await ops.shorts("concept==v1:ops:job;payload.customerId in $ids", ids=["bolt", "zzz"]) == ["j4"]
    assert await ops.shorts('concept==v1:ops:route;payload.jobIds has "j3"') == ["r1"]
