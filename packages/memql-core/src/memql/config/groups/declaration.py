"""How a setting is declared: type, default, environment variables and meaning, once."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Group", "setting"]


class Group(BaseModel):
    """Settings that belong together. Immutable."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        str_strip_whitespace=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )


def setting(*names: str, default: Any, doc: str, secret: bool = False, **constraints: Any) -> Any:
    """A declared setting.

    :param names: environment variables that are read, the preferred one first.
    :param doc: what it means, for ``memql env`` and the generated page; begins in lower case.
    :param secret: whether the value is masked wherever it is shown.
    :param constraints: those of ``pydantic.Field``.
    """
    return Field(
        default=default,
        description=doc,
        repr=not secret,
        json_schema_extra={"names": list(names), "secret": secret},
        **constraints,
    )
