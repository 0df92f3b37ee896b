"""The facade: who may call what, by name and by text, and what the answers look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from ops_system import BOSS, SYSTEM, U1, Ops

from memql.auth import Actor, guest, local_owner
from memql.engine.access import RateLimiter
from memql.engine.context import RequestContext
from memql.engine.engine import to_result
from memql.engine.result import Result
from memql.errors import Code, MemqlError
from memql.lang.catalog import RateLimit

pytestmark = pytest.mark.anyio


async def refused(ops: Ops, text: str, actor: Actor) -> MemqlError:
    with pytest.raises(MemqlError) as caught:
        await ops.run(text, actor)
    return caught.value


async def test_internal_constructs_answer_no_client(ops: Ops) -> None:
    error = await refused(ops, 'queryJobById({jobId: "j1"})', BOSS)
    assert (error.code, "internal" in error.message) == (Code.FORBIDDEN, True)


async def test_guests_reach_nothing_that_is_not_public(ops: Ops) -> None:
    assert (await refused(ops, "queryMyCustomers({})", guest())).code is Code.FORBIDDEN
    assert (await refused(ops, "functions()", guest())).code is Code.FORBIDDEN


async def test_logic_without_an_access_mark_answers_no_client(ops: Ops) -> None:
    error = await refused(ops, "logicEscalate({})", BOSS)
    assert error.code is Code.FORBIDDEN
    assert "@public, @role or @permission" in error.message


async def test_an_unknown_name_brings_the_nearest_ones(ops: Ops) -> None:
    error = await refused(ops, "queryJob({})", BOSS)
    assert error.code is Code.UNKNOWN_FUNCTION
    assert "queryJobs" in error.suggestion["didYouMean"]


async def test_the_cluster_owner_passes_row_rules(ops: Ops) -> None:
    assert await ops.shorts("concept==v1:ops:customer", local_owner()) == ["bolt", "acme"]


async def test_a_name_with_typed_arguments_gives_what_its_text_gives(ops: Ops) -> None:
    by_name = await ops.engine.call("queryJobs", {"customerId": "acme"}, actor=U1)
    by_text = await ops.run('queryJobs({customerId: "acme"})', U1)
    assert by_name.decoded_data() == by_text.decoded_data()


async def test_variables_are_values_and_never_text(ops: Ops) -> None:
    found = await ops.run("concept==v1:ops:job;payload.title==$title", BOSS, title='x" || true')
    assert not found.nodes


async def test_a_cursor_continues_reads_and_nothing_else(ops: Ops) -> None:
    page = "paginate(concept==v1:ops:job, 3)"
    first = await ops.run(page)
    rest = await ops.engine.execute(page, actor=BOSS, cursor=first.meta.cursor)
    assert [root[-2:] for root in [*first.root_ids, *rest.root_ids]] == ["j4", "j3", "j2", "j1"]
    for text in ('mutationDropJob({jobId: "j1"})', "functions()", 'delete("v1:ops:job", id="j1")'):
        with pytest.raises(MemqlError) as caught:
            await ops.engine.execute(text, actor=BOSS, cursor=first.meta.cursor)
        assert caught.value.code is Code.INVALID_ARGUMENT
    assert await ops.shorts('concept==v1:ops:job;id=="j1"') == ["j1"]


async def test_the_client_id_and_the_time_taken_come_back(ops: Ops) -> None:
    result = await ops.engine.execute("count v1:ops:job", actor=BOSS, client_id="c-7")
    assert result.meta.client_id == "c-7"
    assert result.meta.took >= 0


async def test_a_call_past_its_time_is_a_coded_timeout(ops: Ops) -> None:
    async def slow(args: object, ctx: RequestContext) -> None:
        await anyio.sleep_forever()

    ops.engine.builtins.register("integration.geo.distanceKm", slow)
    with pytest.raises(MemqlError) as caught:
        await ops.engine.call(
            "geoDistanceKm",
            {"origin": "a", "target": "b"},
            actor=SYSTEM,
            timeout=0.05,
            context=RequestContext(actor=SYSTEM, inner=True),
        )
    assert caught.value.code is Code.TIMEOUT
    assert caught.value.retryable


async def test_a_builtin_without_its_executor_is_unavailable(ops: Ops) -> None:
    context = RequestContext(actor=SYSTEM, inner=True)
    with pytest.raises(MemqlError) as caught:
        await ops.engine.call("geoDistanceKm", {"origin": "a", "target": "b"}, actor=SYSTEM, context=context)
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.details == {"executor": "integration.geo.distanceKm"}


async def test_directives_go_around_what_a_builtin_gives(ops: Ops) -> None:
    context = RequestContext(actor=SYSTEM, inner=True, variables={"n": 2})
    asked: list[Mapping[str, Any]] = []

    async def places(args: Mapping[str, Any], ctx: RequestContext) -> list[dict[str, Any]]:
        asked.append(args)
        names = ("Chur", "Bern", "Aarau")
        return [{"name": name, "km": number, "at": {"zone": "CET"}} for number, name in enumerate(names)]

    ops.engine.builtins.register("integration.geo.distanceKm", places)

    async def run(text: str, cursor: str = "") -> Result:
        text = text.replace("places()", 'geoDistanceKm({origin: "a", target: "b"})')
        return await ops.engine.execute(text, actor=SYSTEM, context=context, cursor=cursor)

    page = 'paginate(select(sort(places(), "payload.name", "asc"), "payload.name", "payload.at.zone"), $n)'
    first = await run(page)
    assert first.decoded_data() == [{"name": "Aarau", "at": {"zone": "CET"}}, {"name": "Bern", "at": {"zone": "CET"}}]
    assert (first.meta.count, first.meta.has_more) == (2, True)
    assert (await run(page, first.meta.cursor)).decoded_data() == [{"name": "Chur", "at": {"zone": "CET"}}]
    assert [row["name"] for row in (await run("paginate(places(), 5, 1)")).decoded_data()] == ["Bern", "Aarau"]
    assert (await run("count(places())")).decoded_data() == [3]
    assert asked[0] == {"origin": "a", "target": "b"}
    asked.clear()
    for text, cursor, code in (
        ('asOf(places(), "2026-01-01")', "", Code.SYNTAX_ERROR),
        ('sort(places(), "name")', "", Code.INVALID_ARGUMENT),
        ("count(places())", first.meta.cursor, Code.INVALID_ARGUMENT),
    ):
        with pytest.raises(MemqlError) as caught:
            await run(text, cursor)
        assert caught.value.code is code
    assert asked == []
    for text in ("paginate(places(), $n)", page.replace("asc", "desc")):
        with pytest.raises(MemqlError, match="cursor") as caught:
            await run(text, first.meta.cursor)
        assert caught.value.code is Code.INVALID_ARGUMENT


async def test_directives_go_around_what_the_tree_says_about_itself(ops: Ops) -> None:
    everything = await ops.run('sort(concepts(), "id", "asc")')
    first = await ops.run('paginate(sort(concepts(), "id", "asc"), 3)')
    assert first.root_ids == everything.root_ids[:3] == sorted(everything.root_ids)[:3]
    assert await ops.data("count(concepts())") == [len(everything.nodes)]
    (node, *_) = (await ops.run('select(concepts(), "payload.concept")')).decoded_nodes()
    assert set(node) == {"id", "payload"}
    assert set(node["payload"]) == {"concept"}


def test_a_rate_limit_counts_per_caller_in_a_sliding_window() -> None:
    now = [0.0]
    limiter = RateLimiter(clock=lambda: now[0])
    limit = RateLimit(requests=2, per=10.0)
    for _ in range(2):
        limiter.check("f", limit, U1)
    with pytest.raises(MemqlError) as caught:
        limiter.check("f", limit, U1)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert caught.value.details == {"retryAfterSeconds": 10.0}
    limiter.check("f", limit, BOSS)
    now[0] = 10.5
    limiter.check("f", limit, U1)


def test_what_a_body_returns_becomes_a_bundle_a_list_or_one_value() -> None:
    node = {"id": "v1:a:b:c", "concept": "v1:a:b", "payload": {}}
    assert to_result([node]).root_ids == ["v1:a:b:c"]
    assert to_result([1, 2]).decoded_data() == [1, 2]
    assert to_result({"a": 1}).decoded_data() == [{"a": 1}]
    assert to_result(None).decoded_data() == [None]
