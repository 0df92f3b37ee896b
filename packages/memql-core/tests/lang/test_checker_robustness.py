"""The checker answers every text with findings: it never raises, and it takes no longer than the text is long."""

from __future__ import annotations

import re
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memql.lang.codes import CODES
from memql.lang.excerpt import render
from memql.lang.loader import Sources, load_tree

TOKEN = re.compile(r'"[^"\n]*"|\w+|\s+|[^\w\s]')


def tokens_of(tree: Sources) -> list[str]:
    return sorted({token for text in tree.files.values() for token in TOKEN.findall(text)})


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_tree_gives_findings_and_no_exception(ops_tree: Sources, data: st.DataObject) -> None:
    known = tokens_of(ops_tree)
    path = data.draw(st.sampled_from(sorted(path for path in ops_tree.files if path.startswith("ops/"))))
    parts = TOKEN.findall(ops_tree.files[path])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(parts) - 1))
        kind = data.draw(st.sampled_from(["drop", "replace", "insert", "swap"]))
        if kind == "drop" and len(parts) > 1:
            del parts[at]
        elif kind == "replace":
            parts[at] = data.draw(st.sampled_from(known))
        elif kind == "insert":
            parts.insert(at, data.draw(st.sampled_from(known)))
        else:
            other = data.draw(st.integers(0, len(parts) - 1))
            parts[at], parts[other] = parts[other], parts[at]
    sources = ops_tree.over(Sources({path: "".join(parts)}))
    loaded = load_tree(sources)
    assert (loaded.catalog is None) == any(finding.severity == "error" for finding in loaded.findings)
    for finding in loaded.findings:
        assert finding.code in CODES
        assert render(finding, sources).startswith(finding.severity)


def repeated(count: int) -> Sources:
    text = "".join(
        f"""
        concept thing{i} {{ name string! @minLength(2) state enum("a", "b") @default("a") n int }}
        spec specThing{i} {{ payload.state == "a" && payload.n > 1 }}
        @enabled @role("reader") query thing{i} queryThing{i} {{
          args {{ name string! n int }}
          filter payload.name == args.name; ?.payload.n == args.n; specThing{i}
        }}
        logic logicThing{i} {{ body {{ found := queryThing{i}({{ name: "ab" }}) return found.Len() }} }}
        """
        for i in range(count)
    )
    return Sources({"many/things.memql": text})


def seconds(sources: Sources) -> float:
    """Processor time, so that what else the machine does is not counted."""
    start = time.process_time()
    assert load_tree(sources).findings == ()
    return time.process_time() - start


def test_a_large_tree_is_checked_in_time_that_grows_with_its_size() -> None:
    load_tree(repeated(5))
    small, large = (min(seconds(repeated(count)) for _ in range(3)) for count in (50, 200))
    assert large < 10 * small


def test_a_long_ring_and_a_deep_chain_are_walked_without_recursion() -> None:
    chain = "".join(f"trait trait{i} {{ trait{i + 1} }}\n" for i in range(3000)) + "trait trait3000 { payload.a }"
    assert load_tree(Sources({"many/traits.memql": chain})).findings == ()
    ring = chain.replace("{ payload.a }", "{ trait0 }")
    codes = [finding.code for finding in load_tree(Sources({"many/traits.memql": ring})).findings]
    assert codes == ["cycle"]
