"""Bodies over a fake engine: what runs, in which order, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.auth import Actor, system
from memql.engine.assembly import build_engine
from memql.engine.context import RequestContext
from memql.engine.logic import Publisher, Runner
from memql.errors import Code, MemqlError
from memql.events import Event
from memql.events.outbox import Outbox
from memql.graph.database import Database
from memql.lang.catalog import Builtin, Catalog
from memql.lang.loader import load_tree, read_sources
from memql.lang.sources import Sources

pytestmark = pytest.mark.anyio

BASE = """
@rowAuthz(clusterOwner) concept thing { name string! size int }
@enabled @internal query thing queryThings { args { name string } }
@enabled @internal mutation thing mutationAdd { args { name string! } insert { id: newId() args.name } }
@enabled @executor("test.echo") @args(profile="stringOrObject", stringKey="text") builtin echo { text string! }
@actor shape roleShape { actor.role }
@shape("roleShape") spec isAdmin { actor.role == "admin" }
@tier("bff") @frontend_visible policy canSee { args { size int! } return spec("isAdmin") && args.size < 10 }
@tier("core") policy coreOnly { args { size int! } return args.size > 1 }
@tier("bff") policy hidden { return true }
@tier("bff") @frontend_visible policy layered {
  args { size int! }
  body { small := policy("canSee", { size: args.size })  things := queryThings({}) return small && things.Len() > 1 }
}
"""


class FakeEngine:
    """Answers calls from a table, and remembers them."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.calls: list[tuple[str, Any]] = []
        self.runner: Runner | None = None

    async def invoke(self, key: str, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        if logic := self.catalog.logics.get(key):
            assert self.runner is not None
            return await self.runner.run(logic, args, ctx.called_by_construct())
        self.calls.append((key, args))
        if key == "queryThings":
            return [
                {"id": f"v1:t:thing:{name}", "concept": "v1:t:thing", "payload": {"name": name, "size": size}}
                for size, name in enumerate("abc")
            ]
        if key == "mutationAdd":
            return [{"id": "v1:t:thing:new", "concept": "v1:t:thing", "payload": dict(args)}]
        return args["text"] if isinstance(args, Mapping) else args

    async def invoke_builtin(self, builtin: Builtin, args: Any, ctx: RequestContext) -> Any:
        raise NotImplementedError


class Kept(Outbox):
    """An outbox that keeps events in memory."""

    def __init__(self) -> None:
        self.kept: list[Event] = []

    async def append(self, event: Event, connection: Any = None) -> None:
        self.kept.append(event)


class Bench:
    """One body under test."""

    def __init__(self, text: str, templates: Mapping[str, str] | None = None) -> None:
        sources = read_sources().over(Sources({"t/all.memql": BASE + text}, templates or {}))
        self.engine = FakeEngine(load_tree(sources).require())
        self.published: list[Event] = []
        self.outbox = Kept()
        publisher = Publisher(self.outbox, self.published.append)
        self.runner = Runner(self.engine, cast("Database", None), publisher, tables=self._tables)
        self.engine.runner = self.runner

    async def _tables(self, ctx: RequestContext) -> Any:
        raise NotImplementedError

    async def run(self, name: str = "logicIt", args: Mapping[str, Any] | None = None, **context: Any) -> Any:
        ctx = RequestContext(**({"actor": system("system:test")} | context))
        return await self.runner.run(self.engine.catalog.logics[name], args or {}, ctx)

    def called(self) -> list[str]:
        return [key for key, _ in self.engine.calls]


def body(text: str, args: str = "") -> str:
    return f"logic logicIt {{ args {{ {args} }} body {{ {text} }} }}"


async def test_statements_run_in_source_order_but_after_what_they_refer_to() -> None:
    bench = Bench(body('a := echo(later) x := mutationAdd({ name: "x" }) later := concat("l", "ater") return a'))
    assert await bench.run() == "later"
    assert bench.called() == ["mutationAdd", "echo"]


async def test_a_binding_whose_condition_was_false_is_empty_and_has_not_run() -> None:
    text = """
    no := if 1 > 2 { mutationAdd({ name: "x" }) }
    yes := if 2 > 1 { mutationAdd({ name: "y" }) }
    return { ran: no.Ran(), len: no.Len(), empty: no.Empty(), value: no, yes: yes.Ran(), name: yes.First().name }
    """
    bench = Bench(body(text))
    assert await bench.run() == {"ran": False, "len": 0, "empty": True, "value": None, "yes": True, "name": "y"}
    assert bench.called() == ["mutationAdd"]


async def test_else_branches_chain_and_bind_their_last_call() -> None:
    text = """
    size := if args.n > 10 { echo("big") } else if args.n > 5 { a := echo("middle")  echo(concat(a, "!")) }
      else { echo("small") }
    return size
    """
    bench = Bench(body(text, "n int!"))
    assert [await bench.run(args={"n": n}) for n in (11, 6, 1)] == ["big", "middle!", "small"]


async def test_a_loop_binds_anew_in_every_turn() -> None:
    text = """
    for thing := range queryThings({}) {
      label := concat(thing.name, toString(thing.payload.size))
      made := mutationAdd({ name: label })
    }
    return true
    """
    bench = Bench(body(text))
    await bench.run()
    assert [args["name"] for key, args in bench.engine.calls if key == "mutationAdd"] == ["a0", "b1", "c2"]


async def test_a_return_inside_a_loop_ends_the_body() -> None:
    text = """
    for thing := range queryThings({}) { if thing.size == 1 { return thing.name } }
    return "none"
    """
    assert await Bench(body(text)).run() == "b"


async def test_ranging_over_what_is_no_list_is_refused_and_null_has_no_turns() -> None:
    bench = Bench(body("for x := range args.many { y := echo(x) } return 1", "many any"))
    assert await bench.run() == 1
    with pytest.raises(MemqlError, match="range goes over"):
        await bench.run(args={"many": 5})


async def test_loops_are_bounded_altogether() -> None:
    text = "for a := range args.many { for b := range args.many { c := a } } return 1"
    bench = Bench(body(text, "many []int!"))
    with pytest.raises(MemqlError) as caught:
        await bench.run(args={"many": list(range(400))})
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


async def test_calls_that_nest_too_deep_are_refused() -> None:
    bench = Bench(body("return 1"))
    with pytest.raises(MemqlError) as caught:
        await bench.run(depth=33)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


async def test_arguments_are_checked_before_anything_runs() -> None:
    bench = Bench(body('a := echo("x") return a', "n int!"))
    with pytest.raises(MemqlError) as caught:
        await bench.run(args={"n": "five"})
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert bench.called() == []


async def test_a_body_past_its_time_limit_is_stopped() -> None:
    text = body("for a := range args.many { for b := range args.many { c := a } } return 1", "many []int!")
    bench = Bench('@timeout("1ms") ' + text)
    with pytest.raises(MemqlError) as caught:
        await bench.run(args={"many": list(range(300))})
    assert caught.value.code is Code.TIMEOUT


async def test_what_a_body_calls_must_take_what_it_gives() -> None:
    bench = Bench(body("a := mutationAdd(args.given) return a", "given any!"))
    with pytest.raises(MemqlError, match="takes an object of arguments"):
        await bench.run(args={"given": 5})


async def test_error_aborts_with_its_message() -> None:
    with pytest.raises(MemqlError) as caught:
        await Bench(body('a := if true { error("stop") } return echo("never")')).run()
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, "stop")


MODELS = """
@base @type("Vendor") provider vendor { auth { apiKey env("NO_SUCH_KEY") } }
@extends("vendor") @model("m") provider chat { }
@defaultProvider("chat") @templateFile("hello.tmpl") prompt hello { word string }
"""


async def test_a_model_call_without_models_says_so() -> None:
    bench = Bench(MODELS + body('return si("hello", {})'), templates={"t/hello.tmpl": "Hello {{.word}}"})
    with pytest.raises(MemqlError) as caught:
        await bench.run()
    assert caught.value.code is Code.UNAVAILABLE


async def test_published_events_are_kept_first_and_carry_their_actor() -> None:
    bench = Bench(body('e := publishEvent({ topic: " shop..sold ", payload: { n: 1 } }) return e'))
    event = await bench.run()
    (published,) = bench.published
    assert bench.outbox.kept == [published]
    assert (published.topic, published.kind, published.actor) == ("shop.sold", "MESSAGE", "system:test")
    assert event["topic"] == "shop.sold"
    assert event["kind"] == "message"
    assert event["payload"] == {"n": 1}


@pytest.mark.parametrize("topic", ["graph.x", "system.x", "session.x", "query.x", "automation.started"])
async def test_the_engines_own_topics_are_refused(topic: str) -> None:
    bench = Bench(body("return publishEvent({ topic: args.topic })", "topic string!"))
    with pytest.raises(MemqlError, match="only the engine publishes"):
        await bench.run(args={"topic": topic})
    assert bench.published == []


async def test_events_of_a_transaction_wait_for_its_commit() -> None:
    bench = Bench(body('e := publishEvent({ topic: "shop.sold" }) return 1'))
    deferred: list[Event] = []
    await bench.run(deferred=deferred)
    assert bench.published == []
    assert [event.topic for event in deferred] == ["shop.sold"]


async def test_an_event_payload_is_an_object() -> None:
    bench = Bench(
        body("return publishEvent({ topic: args.topic, payload: args.payload })", "topic string! payload any")
    )
    with pytest.raises(MemqlError, match="payload is an object"):
        await bench.run(args={"topic": "a", "payload": 5})


@given(n=st.integers(0, 30))
def test_a_sum_over_a_loop_of_calls_sees_every_item(n: int) -> None:
    async def scenario() -> None:
        bench = Bench(body("for x := range args.many { y := echo(toString(x)) } return args.many.Len()", "many []int!"))
        assert await bench.run(args={"many": list(range(n))}) == n
        assert [args for _, args in bench.engine.calls] == [str(x) for x in range(n)]

    anyio.run(scenario)


# --- policies --------------------------------------------------------------------------------------------------------

ADMIN = RequestContext(actor=Actor(user_id="v1:identity:user:a", role="admin"))
READER = RequestContext(actor=Actor(user_id="v1:identity:user:r", role="reader"))


async def test_a_decision_depends_on_actor_and_arguments() -> None:
    policies = Bench("").runner.policies
    assert (await policies.evaluate("canSee", {"size": 3}, ADMIN)).value is True
    assert (await policies.evaluate("canSee", {"size": 30}, ADMIN)).value is False
    assert (await policies.evaluate("canSee", {"size": 3}, READER)).value is False


async def test_a_decision_may_ask_others_and_tell_how_it_came_about() -> None:
    outcome = await Bench("").runner.policies.evaluate("layered", {"size": 3}, ADMIN, trace=True)
    assert outcome.value is True
    assert outcome.trace is not None
    assert outcome.trace["bindings"]["small"] is True
    assert [(call["kind"], call["target"]) for call in outcome.trace["calls"]] == [
        ("policy", "canSee"),
        ("call", "queryThings"),
    ]


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("nobody", Code.UNKNOWN_FUNCTION, "POLICY_UNKNOWN"),
        ("coreOnly", Code.FORBIDDEN, "POLICY_TIER_MISMATCH"),
        ("hidden", Code.FORBIDDEN, "POLICY_NOT_FRONTEND_VISIBLE"),
    ],
)
async def test_clients_evaluate_only_policies_meant_for_them(name: str, code: Code, reason: str) -> None:
    with pytest.raises(MemqlError) as caught:
        await Bench("").runner.policies.evaluate(name, {"size": 1}, ADMIN)
    assert caught.value.code is code
    assert caught.value.details["policy"] == reason


async def test_a_body_asks_a_policy_of_any_tier() -> None:
    bench = Bench(body('return policy("coreOnly", { size: 2 })'))
    assert await bench.run() is True


async def test_an_atomic_body_takes_all_its_writes_back_when_it_fails(database: Database) -> None:
    text = '@atomic logic logicIt { args {} body { a := mutationAdd({ name: "x" }) return error("no") } }'
    catalog = load_tree(read_sources().over(Sources({"t/all.memql": BASE + text}))).require()
    published: list[Event] = []
    engine = build_engine(database, catalog, publish=published.append)
    ctx = RequestContext(actor=system("system:test"), inner=True)
    with pytest.raises(MemqlError, match="no"):
        await engine.logic.run(catalog.logics["logicIt"], {}, ctx)
    assert await database.fetch("SELECT FROM memory_nodes WHERE concept = 'v1:t:thing'") == []
    assert published == []


async def test_an_atomic_body_publishes_after_its_commit(database: Database) -> None:
    text = """
    @atomic logic logicIt {
      args {}
      body {
        a := mutationAdd({ name: "x" })
        b := publishEvent({ topic: "t.done" })
        c := mutationAdd({ name: "y" })
        return 1
      }
    }
    """
    catalog = load_tree(read_sources().over(Sources({"t/all.memql": BASE + text}))).require()
    published: list[Event] = []
    engine = build_engine(database, catalog, publish=published.append)
    await engine.logic.run(catalog.logics["logicIt"], {}, RequestContext(actor=system("system:test"), inner=True))
    assert [event.topic.rpartition(".")[2] for event in published] == ["v1:t:thing", "done", "v1:t:thing"]
    (xids,) = await database.fetch("SELECT count(DISTINCT xid) FROM memory_nodes WHERE concept = 'v1:t:thing'")
    assert xids == (1,)
