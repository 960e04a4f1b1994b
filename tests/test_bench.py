"""The benchmarks run; how fast anything is, is not tested."""

from __future__ import annotations

import os
import shutil

import msgspec
import pytest
from bench import cycles, dispatch, download, export, ingest, latency, listing, memory
from bench.report import Row, percentile, print_json, print_table

from voxtra.lab.pbx import Pbx


def _measured(rows: list[Row], bench: str) -> None:
    assert {row.bench for row in rows} == {bench}
    assert all(row.ours > 0 and row.raw > 0 for row in rows)


async def test_latency_measures_both_sides_on_asterisk(lab: Pbx):
    """The time from StasisStart to a running recording is found for both, at three percentiles."""
    rows = await latency.measure(lab, 3)
    _measured(rows, "latency")
    assert [row.measure[-3:] for row in rows] == ["p50", "p90", "p99"]
    assert rows[0].ours <= rows[2].ours


async def test_cycles_run_with_several_workers(lab: Pbx):
    """Whole recorded calls are counted per second, for each number of workers."""
    rows = await cycles.measure(lab, 8, workers=(1, 2))
    _measured(rows, "cycles")
    assert [row.measure for row in rows if row.unit == "1/s"] == [
        "cycles, 1 worker",
        "cycles, 2 workers",
    ]


async def test_dispatch_reads_a_replayed_stream_to_its_end(lab: Pbx):
    """Both clients read the whole stream, flooded and paced, in processes of their own."""
    rows = await dispatch.measure(lab, 200, rounds=1)
    _measured(rows, "dispatch")
    assert len(rows) == 2


async def test_memory_counts_idle_calls(lab: Pbx):
    """Both clients hold the calls they were told of, and their growth is measured."""
    (row,) = await memory.measure(lab, 1000, rounds=1)
    assert row.bench == "memory"
    assert 0 < row.ours < 100
    assert 0 < row.raw < row.ours


@pytest.mark.skipif(
    shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None,
    reason="compares with nginx, which Debian would start as a service",
)
async def test_a_download_is_served_by_both(lab: Pbx):
    """The file of a recording comes whole by the REST API, and the same one from nginx."""
    _measured(await download.measure(lab, 1), "download")


async def test_ingest_brings_a_call_home_and_copies_it(lab: Pbx):
    """A stereo call of ten minutes is stored, and its file hashed and copied by the usual tools."""
    (row,) = await ingest.measure(lab, 1)
    _measured([row], "ingest")


async def test_export_makes_archives_on_both_sides(lab: Pbx):
    """Ours and zip archive the same files; the memory that ours took is bounded."""
    speed, grown = await export.measure(lab, 2, rounds=1)
    _measured([speed], "export")
    assert grown.aim_met is True


async def test_lists_are_read_with_every_filter(lab: Pbx):
    """Each filter and each pair is asked for at least once, and the slowest of them are named."""
    rows = await listing.measure(lab, 200, rows=3000)
    _measured(rows, "listing")
    assert [row.aim is not None for row in rows] == [False, True, False, True, *[False] * 3]


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: int, expected: float):
    """Of the numbers 1 to 100 the nth percentile is n."""
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == expected


def test_an_aim_is_a_bound_on_the_ratio_or_on_our_value():
    """A row says whether its aim is met, and nothing when it has none."""
    assert Row("b", "m", "ms", 11.0, 10.0, ("<=", 1.1)).aim_met is True
    assert Row("b", "m", "1/s", 5.0, 10.0, (">=", 0.6)).aim_met is False
    assert Row("b", "m", "kB", 20.0, 1.0, ("<=", 25.0), "ours").aim_met is True
    assert Row("b", "m", "ms", 1.0, 1.0).aim_met is None


def test_a_result_is_printed_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]):
    """The table says which aim was missed; the JSON has the ratio of every row."""
    rows = [Row("dispatch", "events", "1/s", 3.0, 10.0, (">=", 0.6))]
    print_table(rows)
    assert "0.30  ratio >= 0.6: MISSED" in capsys.readouterr().out
    print_json(rows)
    (found,) = msgspec.json.decode(capsys.readouterr().out)
    assert found["bench"] == "dispatch"
    assert found["ratio"] == 0.3
    assert found["aim_met"] is False
