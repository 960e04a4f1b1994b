"""What a benchmark found out, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

__all__ = ["Row", "percentile", "print_json", "print_table"]


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of both sides.

    `aim` is a bound on `aim_on`: the ratio ours / raw, or our own value.
    """

    bench: str
    measure: str
    unit: str
    ours: float
    raw: float
    aim: tuple[Literal["<=", ">="], float] | None = None
    aim_on: Literal["ratio", "ours"] = "ratio"

    @property
    def ratio(self) -> float:
        return self.ours / self.raw if self.raw else float("nan")

    @property
    def aim_met(self) -> bool | None:
        if self.aim is None:
            return None
        value = self.ratio if self.aim_on == "ratio" else self.ours
        return value <= self.aim[1] if self.aim[0] == "<=" else value >= self.aim[1]


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the smallest value that `percent` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def print_table(rows: Sequence[Row]) -> None:
    print(f"{'measure':<44} {'ours':>10} {'raw':>10} {'unit':<5} {'ratio':>6}  aim")
    for row in rows:
        aim = ""
        if row.aim is not None:
            aim = f"{row.aim_on} {row.aim[0]} {row.aim[1]:g}: {'met' if row.aim_met else 'MISSED'}"
        measure = f"{row.bench}: {row.measure}"
        numbers = f"{row.ours:>10.2f} {row.raw:>10.2f} {row.unit:<5} {row.ratio:>6.2f}"
        print(f"{measure:<44} {numbers}  {aim}".rstrip())


def print_json(rows: Sequence[Row]) -> None:
    found = [
        {**msgspec.to_builtins(row), "ratio": row.ratio, "aim_met": row.aim_met} for row in rows
    ]
    print(msgspec.json.encode(found).decode())
