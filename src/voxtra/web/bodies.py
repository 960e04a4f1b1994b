"""What JSON bodies have in common: nothing unknown, and nothing that a database can't hold."""

from __future__ import annotations

import math
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["Body", "example"]

_DEEPEST: Final = 20


def example(shown: Any) -> ConfigDict:
    """Return the configuration of a model that has an example in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": [shown]})


class Body(BaseModel):
    """Base of all bodies: keys that it does not know are refused, and so is what is no plain JSON
    text or number (NUL, halves of surrogate pairs, NaN, numbers beyond 64 bits).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check(cls, value: Any) -> Any:
        _check(value, 0)
        return value


def _check(value: object, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"is nested deeper than {_DEEPEST} levels")
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("holds the character NUL; remove it")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("holds half of a surrogate pair; send whole characters")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("holds NaN or Infinity, which are no JSON")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError("holds a number of more than 64 bits")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check(name, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
