"""Arguments are checked before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.engine.values import bind_args
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import ArgSpec
from memql.lang.schemas import type_schema


def spec(name: str, type_: ast.TypeExpr, *, required: bool = False, **members: Any) -> ArgSpec:
    constraints = members.pop("constraints", {})
    schema = {**type_schema(type_), **constraints}
    return ArgSpec(name=name, type=type_, required=required, json_schema=schema, **members)


SPECS = (
    spec("customerId", ast.ScalarType("string"), required=True),
    spec("status", ast.ScalarType("string"), constraints={"enum": ["open", "done"]}),
    spec("limit", ast.ScalarType("int"), has_default=True, default=20, constraints={"minimum": 1}),
    spec("due", ast.ScalarType("datetime")),
    spec("counts", ast.ListType(ast.ScalarType("int"))),
    spec("by", ast.MapType(ast.ScalarType("int"))),
    spec("callerId", ast.ScalarType("string"), required=True, auto_injected=True),
)


def test_defaults_are_filled_and_nulls_count_as_omitted() -> None:
    assert bind_args(SPECS, {"customerId": "acme", "status": None}, "queryJobs") == {"customerId": "acme", "limit": 20}


def test_integral_floats_pass_as_integers() -> None:
    bound = bind_args(SPECS, {"customerId": "a", "limit": 3.0, "counts": [1.0, 2], "by": {"x": 4.0}}, "q")
    assert (bound["limit"], bound["counts"], bound["by"]) == (3, [1, 2], {"x": 4})
    assert type(bound["limit"]) is type(bound["counts"][0]) is type(bound["by"]["x"]) is int


@pytest.mark.parametrize(
    ("args", "path", "rule"),
    [
        ({}, "customerId", "required"),
        ({"customerId": None}, "customerId", "required"),
        ({"customerId": 1}, "customerId", "type"),
        ({"customerId": "a", "status": "lost"}, "status", "enum"),
        ({"customerId": "a", "limit": 0}, "limit", "minimum"),
        ({"customerId": "a", "limit": 1.5}, "limit", "type"),
        ({"customerId": "a", "limit": True}, "limit", "type"),
        ({"customerId": "a", "due": "tomorrow"}, "due", "format"),
        ({"customerId": "a", "counts": [1, "2"]}, "counts.1", "type"),
        ({"customerId": "a", "stauts": "open"}, "stauts", "unknown"),
    ],
)
def test_a_wrong_argument_is_named_with_its_rule(args: dict[str, Any], path: str, rule: str) -> None:
    with pytest.raises(MemqlError) as caught:
        bind_args(SPECS, args, "queryJobs")
    error = caught.value
    assert error.code is Code.INVALID_ARGUMENT
    assert "queryJobs" in error.message
    assert {"path": path, "rule": rule}.items() <= error.details["violations"][0].items()


def test_a_misspelt_argument_is_suggested() -> None:
    with pytest.raises(MemqlError) as caught:
        bind_args(SPECS, {"customerId": "a", "stauts": "open"}, "queryJobs")
    assert caught.value.suggestion == {"didYouMean": "status"}


@given(
    st.dictionaries(
        st.sampled_from([s.name for s in SPECS] + ["other"]), st.none() | st.integers() | st.text(), max_size=4
    )
)
def test_binding_either_yields_valid_arguments_or_an_invalid_argument_error(args: dict[str, Any]) -> None:
    try:
        bound = bind_args(SPECS, args, "q")
    except MemqlError as error:
        assert error.code is Code.INVALID_ARGUMENT
        assert error.details["violations"]
    else:
        assert bind_args(SPECS, bound, "q") == bound
