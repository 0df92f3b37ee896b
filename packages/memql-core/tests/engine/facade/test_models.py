"""Model calls: which provider answers, falling over, limits, offline answers, what is told about it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, ClassVar

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ops_system import BOSS, U1, U2, Ops

from memql.engine.context import RequestContext
from memql.engine.tools import model_calls
from memql.engine.tools.model_errors import SI_CODES, falls_over, si_error, si_id
from memql.engine.tools.model_ports import (
    Bound,
    CallRecord,
    Capability,
    ChatEvent,
    ChatMessage,
    ChatRequest,
    Chosen,
    Credential,
    Embeddings,
    Finish,
    TextDelta,
    Usage,
)
from memql.engine.tools.model_routes import is_local
from memql.engine.tools.models import Models, reply_metadata
from memql.errors import Code, MemqlError
from memql.events import Event
from memql.lang.catalog import Catalog, Policy, Provider

pytestmark = pytest.mark.anyio

ASK = ChatRequest(messages=(ChatMessage(role="user", content="the secret question"),), request_id="r1")
CTX = RequestContext(actor=U1)
Answer = str | MemqlError | Callable[[], AsyncIterator[ChatEvent]]


class Vendor:
    """A vendor whose models answer, or do not."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"tools"})

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.closed = 0

    async def chat(self, bound: Bound, request: ChatRequest, ctx: RequestContext) -> AsyncGenerator[ChatEvent, None]:
        self.asked.append(f"{bound.provider.model}|{bound.auth.get('apiKey')}|{request.messages[-1].content}")
        answer = self.answers.get(bound.provider.model, si_error("si.overloaded", "overloaded"))
        try:
            if isinstance(answer, MemqlError):
                raise answer
            if callable(answer):
                async for event in answer():
                    yield event
                return
            yield Usage(input_tokens=3, output_tokens=2)
            for word in answer.split(" "):
                yield TextDelta(word)
            yield Finish()
        finally:
            self.closed += 1

    async def embed(self, bound: Bound, texts: Sequence[str], ctx: RequestContext) -> Embeddings:
        answer = self.answers.get(bound.provider.model, si_error("si.overloaded", "overloaded"))
        if isinstance(answer, MemqlError):
            raise answer
        return Embeddings(model=bound.provider.model, dims=1, vectors=[[1.0] for _ in texts])


def with_chat(catalog: Catalog, *names: str, default: str = "", policy: Policy | None = None) -> Catalog:
    """The tree with more chat providers of the worked example's vendor, each with a model and a key of its name."""
    base = catalog.providers["smallChat"]
    more = {name: replace(base, key=name, name=name, model=name, default=name == default) for name in names}
    policies = dict(catalog.policies) if policy is None else {**catalog.policies, policy.key: policy}
    return replace(catalog, providers={**catalog.providers, **more}, policies=policies)


def chain_of(catalog: Catalog, *names: str, total_ms: int | None = None, first_ms: int | None = None) -> Policy:
    return replace(
        catalog.policies["quickSummary"],
        primary=names[0],
        fallbacks=names[1:],
        max_latency_ms=total_ms,
        max_time_to_first_token_ms=first_ms,
    )


class Setup:
    """Models over a tree, with keys, a vendor and what the bus was told."""

    def __init__(
        self,
        catalog: Catalog,
        answers: Mapping[str, Answer],
        keys: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        found = {"OPS_LLM_KEY": "k"} if keys is None else keys
        self.events: list[Event] = []

        async def credential(name: str) -> Credential | None:
            return Credential(found[name], "env") if name in found else None

        async def variable(name: str) -> str | None:
            return (variables or {}).get(name)

        self.models = Models(
            lambda: catalog, credential, variable=variable, defaults=defaults, publish=self.events.append
        )
        self.vendor = Vendor(answers)
        self.models.register_chat("openai", self.vendor)
        self.local = Vendor({"extractive": "from recall", "wordllama-l2-supercat-256": "-"})
        self.models.register_chat("LocalExtractive", self.local)
        self.models.register_embedding("LocalEmbedding", self.local)

    async def text(self, route: str = "", hints: Sequence[str] = (), request: ChatRequest = ASK) -> str:
        return (await self.models.complete(request, CTX, route=route, hints=hints)).text

    async def refusal(self, route: str = "", request: ChatRequest = ASK) -> MemqlError:
        with pytest.raises(MemqlError) as caught:
            await self.models.complete(request, CTX, route=route)
        return caught.value

    def topics(self) -> list[str]:
        return [event.topic.rpartition(".")[2] for event in self.events]


# --- prompts ---------------------------------------------------------------------------------------------------------


async def test_a_prompt_is_rendered_sent_with_its_key_and_a_json_answer_decoded(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {"small-1": lambda: events(TextDelta('{"ok": '), TextDelta("true}"), Finish())})
    answer = await setup.models.run("jobSummary", {"title": "Boiler", "visits": [{"score": 30}]}, CTX)
    assert answer == {"ok": True}
    assert setup.vendor.asked == ['small-1|k|Job Boiler: [{"score":30}]']
    assert {event.payload["prompt"] for event in setup.events} == {"jobSummary"}


async def test_an_equal_call_of_the_same_caller_within_its_time_is_answered_from_memory(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {"small-1": "hello"})
    for _ in range(3):
        answer = await setup.models.run("jobSummary", {"title": "T", "visits": []}, CTX, ttl=60)
        assert answer == "hello"
    assert len(setup.vendor.asked) == 1
    await setup.models.run("jobSummary", {"title": "T", "visits": []}, RequestContext(actor=U2), ttl=60)
    assert len(setup.vendor.asked) == 2


@pytest.mark.parametrize("keys", [{}, {"OPS_LLM_KEY": ""}])
async def test_a_prompt_without_a_key_is_unavailable_and_names_the_variable(ops: Ops, keys: dict[str, str]) -> None:
    setup = Setup(ops.engine.catalog, {}, keys=keys)
    with pytest.raises(MemqlError, match="OPS_LLM_KEY is not set") as caught:
        await setup.models.run("jobSummary", {"title": "T", "visits": []}, CTX)
    assert (caught.value.code, si_id(caught.value)) == (Code.UNAVAILABLE, "si.auth_missing")
    assert caught.value.details["variables"] == ["OPS_LLM_KEY"]
    assert setup.local.asked == []


async def test_a_prompt_with_an_offline_rule_is_answered_by_it_only_without_a_key(ops: Ops) -> None:
    async def rule(fields: Mapping[str, Any], ctx: RequestContext) -> Any:
        return f"rule: {fields['title']}"

    for keys, answer in (({}, "rule: T"), ({"OPS_LLM_KEY": "k"}, "hello")):
        setup = Setup(ops.engine.catalog, {"small-1": "hello"}, keys=keys)
        setup.models.register_rule("jobSummary", rule)
        assert await setup.models.run("jobSummary", {"title": "T", "visits": []}, CTX) == answer


async def test_a_prompt_whose_answer_breaks_off_fails(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {"small-1": broken_off})
    with pytest.raises(MemqlError, match="broke off") as caught:
        await setup.models.run("jobSummary", {"title": "T", "visits": []}, CTX)
    assert caught.value.code is Code.UNAVAILABLE


# --- which provider --------------------------------------------------------------------------------------------------


async def test_the_first_name_given_decides(ops: Ops) -> None:
    catalog = with_chat(ops.engine.catalog, "a", "b", "c", default="c")
    setup = Setup(catalog, {name: f"from {name}" for name in "abc"})
    assert await setup.text("a", ("b",)) == "froma"
    assert await setup.text("", ("", "b")) == "fromb"
    assert await setup.text() == "fromc"


async def test_the_default_is_a_variable_then_the_setting_then_the_trees_then_the_first_with_a_key(ops: Ops) -> None:
    catalog = with_chat(ops.engine.catalog, "a", "b", "c")
    answers = {name: f"from {name}" for name in "abc"}
    name = "MEMQL_DEFAULT_CHAT_PROVIDER"
    assert await Setup(catalog, answers, variables={name: "b"}, defaults={"chat": "c"}).text() == "fromb"
    assert await Setup(catalog, answers, defaults={"chat": "c"}).text() == "fromc"
    assert await Setup(catalog, answers).text() == "froma"
    wrong = await Setup(catalog, answers, defaults={"chat": "nobody"}).refusal()
    assert (si_id(wrong), wrong.code) == ("si.no_provider", Code.FAILED_PRECONDITION)
    assert name in wrong.message


async def test_a_name_that_is_no_chat_provider_or_policy_is_refused_with_the_nearest(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {})
    unknown = await setup.refusal("smalChat")
    assert (si_id(unknown), unknown.code) == ("si.invalid_request", Code.INVALID_ARGUMENT)
    assert unknown.suggestion["didYouMean"][0] == "smallChat"
    assert "is a base" in (await setup.refusal("vendor")).message
    assert "for embedding" in (await setup.refusal("localEmbed")).message


async def test_without_any_key_an_offline_provider_answers_and_says_what_it_is(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {}, keys={})
    for route in ("", "smallChat", "quickSummary", "extractive"):
        reply = await setup.models.complete(ASK, CTX, route=route)
        assert reply.text == "fromrecall"
        assert reply.chosen == Chosen(provider="extractive", model="extractive", degraded="no_model")
        assert reply_metadata(reply.chosen, reply.usage, reply.finish)["source"]["degraded"] == "no_model"


async def test_a_provider_with_a_key_that_fails_is_an_error_and_no_quiet_downgrade(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {})
    assert si_id(await setup.refusal()) == "si.overloaded"
    assert setup.local.asked == []


async def test_a_key_for_a_vendor_that_nothing_speaks_to_is_an_error_and_no_quiet_downgrade(ops: Ops) -> None:
    base = ops.engine.catalog
    strange = replace(base.providers["smallChat"], type="Strange")
    setup = Setup(replace(base, providers={**base.providers, "smallChat": strange}), {})
    error = await setup.refusal()
    assert (si_id(error), error.code) == ("si.not_implemented", Code.UNIMPLEMENTED)
    assert "Strange" in error.message
    assert setup.local.asked == []
    assert setup.topics() == ["error"]


async def test_a_policy_that_lists_the_offline_provider_falls_over_to_it(ops: Ops) -> None:
    base = ops.engine.catalog
    catalog = with_chat(base, "a", policy=chain_of(base, "a", "extractive"))
    reply = await Setup(catalog, {}).models.complete(ASK, CTX, route="quickSummary")
    assert (reply.text, reply.chosen.policy, reply.chosen.degraded) == ("fromrecall", "quickSummary", "no_model")


async def test_embeddings_take_the_same_way(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {})
    found = await setup.models.embed(["a", "b"], CTX)
    assert (found.model, found.dims, list(found.vectors)) == ("wordllama-l2-supercat-256", 1, [[1.0], [1.0]])
    with pytest.raises(MemqlError, match="needs embedding"):
        await setup.models.embed(["a"], CTX, route="smallChat")


# --- falling over ----------------------------------------------------------------------------------------------------


async def test_a_policy_falls_over_in_order_when_a_model_is_unavailable(ops: Ops) -> None:
    base = ops.engine.catalog
    catalog = with_chat(base, "a", "b", policy=chain_of(base, "a", "b"))
    setup = Setup(catalog, {"b": "from the fallback"})
    assert await setup.models.run("jobSummary", {"title": "T", "visits": []}, CTX) == "fromthefallback"
    assert setup.topics() == ["started", "error", "started", "finished"]
    assert setup.events[1].payload["outcome"] == "fallback_used"
    setup.vendor.answers = {}
    with pytest.raises(MemqlError, match="a: overloaded; b: overloaded") as caught:
        await setup.models.run("jobSummary", {"title": "T", "visits": []}, CTX)
    assert (caught.value.code, si_id(caught.value)) == (Code.UNAVAILABLE, "si.upstream")


@pytest.mark.parametrize("si", ["si.invalid_request", "si.content_refused", "si.budget_exceeded", "si.loop_blocked"])
async def test_what_lies_with_the_request_or_a_budget_is_not_tried_elsewhere(ops: Ops, si: str) -> None:
    base = ops.engine.catalog
    catalog = with_chat(base, "a", "b", policy=chain_of(base, "a", "b"))
    setup = Setup(catalog, {"a": si_error(si, "no"), "b": "hello"})
    assert si_id(await setup.refusal("quickSummary")) == si
    assert len(setup.vendor.asked) == 1


async def events(*many: ChatEvent) -> AsyncIterator[ChatEvent]:
    for event in many:
        yield event


async def broken_off() -> AsyncIterator[ChatEvent]:
    yield TextDelta("Half an ")
    raise si_error("si.upstream", "the line went dead")


async def test_a_failure_after_the_first_piece_ends_the_answer_with_what_there_is(ops: Ops) -> None:
    base = ops.engine.catalog
    catalog = with_chat(base, "a", "b", policy=chain_of(base, "a", "b"))
    setup = Setup(catalog, {"a": broken_off, "b": "hello"})
    reply = await setup.models.complete(ASK, CTX, route="quickSummary")
    assert (reply.text, reply.finish.reason) == ("Half an ", "error")
    assert reply.finish.metadata["error"]["details"]["si"] == "si.upstream"
    assert setup.events[-1].payload["outcome"] == "error"


async def silent() -> AsyncIterator[ChatEvent]:
    await anyio.sleep_forever()
    yield Finish()


async def drip() -> AsyncIterator[ChatEvent]:
    while True:
        yield TextDelta("x")
        await anyio.sleep(0.01)


async def test_a_model_that_does_not_begin_in_time_is_passed_over(ops: Ops) -> None:
    base = ops.engine.catalog
    policy = chain_of(base, "a", "b", total_ms=5000, first_ms=20)
    setup = Setup(with_chat(base, "a", "b", policy=policy), {"a": silent, "b": "hello"})
    assert await setup.text("quickSummary") == "hello"
    assert setup.vendor.closed == 2


async def test_an_answer_that_takes_too_long_ends_with_what_there_is(ops: Ops) -> None:
    base = ops.engine.catalog
    policy = chain_of(base, "a", total_ms=100)
    reply = await Setup(with_chat(base, "a", policy=policy), {"a": drip}).models.complete(ASK, CTX, route=policy.key)
    assert reply.text.startswith("xx")
    assert reply.finish.metadata["error"]["details"]["si"] == "si.timeout"


async def test_a_model_that_sends_nothing_for_long_has_stalled(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_calls, "IDLE_SECONDS", 0.02)
    setup = Setup(ops.engine.catalog, {"small-1": silent})
    assert si_id(await setup.refusal()) == "si.stalled"


async def test_a_client_without_a_needed_capability_is_passed_over(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {"small-1": "hello"})
    tools = replace(ASK, tools=(ops.engine.catalog.tools["jobLookup"],))
    assert await setup.text(request=tools) == "hello"
    error = await setup.refusal(request=replace(tools, schema={"type": "object"}))
    assert (si_id(error), "schema" in error.message) == ("si.not_implemented", True)


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_the_bus_hears_who_asked_whom_and_what_it_cost_but_nothing_of_what_was_said(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {"small-1": "a secret answer"})
    await setup.text()
    started, finished = setup.events
    assert (started.topic, started.kind) == ("si.completion.started", "AI_COMPLETION_STARTED")
    assert (finished.topic, finished.kind) == ("si.completion.finished", "AI_COMPLETION_FINISHED")
    assert started.actor == U1.user_id
    told = finished.payload
    assert told.items() >= {
        "requestId": "r1", "userId": U1.user_id, "provider": "smallChat", "model": "small-1", "keySource": "env",
        "inputTokens": 3, "outputTokens": 2, "outcome": "ok",
    }.items()  # fmt: skip
    assert told["durationMs"] >= told["firstTokenMs"] >= 0
    assert "secret" not in f"{started.json!r}{finished.json!r}"


async def test_stopping_early_ends_the_providers_work_and_says_so(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {"small-1": drip})
    async with aclosing(setup.models.chat(ASK, CTX)) as answer:
        async for event in answer:
            if isinstance(event, TextDelta):
                break
    assert setup.vendor.closed == 1
    assert setup.events[-1].payload["error"] == "si.cancelled"
    assert setup.events[-1].payload["outcome"] == "cancelled"


async def test_a_cancelled_task_ends_the_providers_work(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {"small-1": silent})
    with anyio.move_on_after(0.05):
        await setup.text()
    assert setup.vendor.closed == 1
    assert setup.events[-1].payload["outcome"] == "cancelled"


class Ledger:
    """A guard that admits all but one, and remembers."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.records: list[CallRecord] = []

    async def admit(self, planned: CallRecord, request: ChatRequest | Sequence[str], ctx: RequestContext) -> None:
        if planned.provider == self.refused:
            raise si_error("si.budget_exceeded", "the budget is spent")

    def settle(self, record: CallRecord) -> None:
        self.records.append(record)


async def test_a_guard_stands_before_calls_that_leave_the_node_and_hears_how_they_ended(ops: Ops) -> None:
    base = ops.engine.catalog
    catalog = with_chat(base, "a", "b", policy=chain_of(base, "a", "b"))
    setup, ledger = Setup(catalog, {"b": "hello"}), Ledger(refused="smallChat")
    setup.models.guard(ledger)
    await setup.text("quickSummary")
    assert [(record.provider, record.outcome) for record in ledger.records] == [("a", "fallback_used"), ("b", "ok")]
    assert ledger.records[-1].usage == Usage(input_tokens=3, output_tokens=2)
    error = await setup.refusal("smallChat")
    assert (si_id(error), error.retryable) == ("si.budget_exceeded", False)
    await setup.text("extractive")
    assert len(ledger.records) == 2
    with pytest.raises(MemqlError, match="already"):
        setup.models.guard(ledger)


# --- suggestions, registration, errors -------------------------------------------------------------------------------


async def test_an_unknown_suggestion_domain_is_told_which_there_are(ops: Ops) -> None:
    async def echo(payload: Mapping[str, Any], ctx: RequestContext) -> Mapping[str, Any]:
        return payload

    models = Setup(ops.engine.catalog, {}).models
    models.register_domain("echo", echo)
    assert await models.suggest("echo", {"a": 1}, CTX) == {"a": 1}
    with pytest.raises(MemqlError, match="there are: echo") as caught:
        await models.suggest("nothing", {}, CTX)
    assert caught.value.code is Code.INVALID_ARGUMENT
    with pytest.raises(MemqlError, match="registered already"):
        models.register_domain("echo", echo)
    with pytest.raises(MemqlError, match="registered already"):
        models.register_chat("OPENAI", Vendor({}))


@given(si=st.sampled_from(sorted(SI_CODES)))
def test_every_id_has_a_code_and_says_whether_another_provider_helps(si: str) -> None:
    error = si_error(si, "x")
    assert (error.code, si_id(error)) == (SI_CODES[si], si)
    if error.code in (Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT, Code.CANCELLED, Code.FORBIDDEN):
        assert not falls_over(error)


async def test_a_stored_key_wins_over_the_environment_and_is_found_on_the_next_call(ops: Ops) -> None:
    vendor = Vendor({"small-1": "hello"})
    ops.engine.models.register_chat("OpenAI", vendor)
    with pytest.raises(MemqlError, match="OPS_LLM_KEY is not set"):
        await ops.engine.models.run("jobSummary", {"title": "T", "visits": []}, CTX)
    await ops.run('insert("v1:platform:globalVariable", payload={name: "OPS_LLM_KEY", value: "stored"})')
    assert await ops.engine.models.run("jobSummary", {"title": "T", "visits": []}, CTX) == "hello"
    assert vendor.asked[-1].startswith("small-1|stored|")
    assert [event.payload["keySource"] for event in ops.events if event.topic.startswith("si.")] == ["global"] * 2


async def test_completions_are_seen_by_administrators_and_by_who_asked(ops: Ops) -> None:
    setup = Setup(ops.engine.catalog, {"small-1": "hello"})
    await setup.text()
    for event in setup.events:
        assert await ops.engine.may_read(event, U1)
        assert await ops.engine.may_read(event, BOSS)
        assert not await ops.engine.may_read(event, U2)


def test_a_provider_is_local_by_its_type(ops_providers: Mapping[str, Provider]) -> None:
    assert {name for name, one in ops_providers.items() if is_local(one)} == {"extractive", "localEmbed"}


@pytest.fixture
def ops_providers(ops_tree: Any) -> Mapping[str, Provider]:
    from memql.lang.loader import load_tree

    return load_tree(ops_tree).require().providers
