"""Handlers and sinks that a configuration file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxtra import LocalFileSink
from voxtra.exceptions import ConfigurationError
from voxtra.handlers import load_handler, load_sink

OFFICE = """
from voxtra import LocalFileSink


async def answer(call):
    pass


def blocking(call):
    pass


class Quacks:
    async def on_recording_complete(self, metadata):
        pass


told, Told, quacks, mute = LocalFileSink(), LocalFileSink, Quacks(), object()
"""


@pytest.fixture(autouse=True)
def _office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a module of somebody's where Python finds it."""
    (tmp_path / "office_of_tests.py").write_text(OFFICE)
    (tmp_path / "broken_of_tests.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_handler() -> None:
    """It is the function that was named."""
    assert load_handler("office_of_tests:answer", "routes[0].handler").__name__ == "answer"


@pytest.mark.parametrize("name", ["told", "quacks"])
def test_a_sink(name: str) -> None:
    """It is the object that was named; any with the method will do."""
    assert callable(load_sink(f"office_of_tests:{name}", "recording.sink").on_recording_complete)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("office_of_tests:nobody", "can't be imported"),
        ("broken_of_tests:told", "nowhere_to_be_found"),
        ("nowhere_to_be_found:told", "can't be imported"),
        ("office_of_tests:Told", "no object with on_recording_complete"),
        ("office_of_tests:mute", "no object with on_recording_complete"),
        ("office_of_tests:answer", "no object with on_recording_complete"),
    ],
)
def test_what_is_no_sink(path: str, problem: str) -> None:
    """The error names the setting, what was written there, and what to write instead."""
    with pytest.raises(ConfigurationError) as wrong:
        load_sink(path, "recording.sink")
    assert wrong.value.field == "recording.sink"
    assert repr(path) in str(wrong.value)
    assert problem in str(wrong.value)
    assert wrong.value.fix


@pytest.mark.parametrize("name", ["blocking", "told", "nobody"])
def test_what_is_no_handler(name: str) -> None:
    """So it is with handlers, which are async functions."""
    with pytest.raises(ConfigurationError) as wrong:
        load_handler(f"office_of_tests:{name}", "routes[3].handler")
    assert wrong.value.field == "routes[3].handler"
    assert wrong.value.fix


def test_what_is_loaded_twice_is_the_same() -> None:
    """Two settings that name one object share it."""
    first = load_sink("office_of_tests:told", "recording.sink")
    assert load_sink("office_of_tests:told", "recording.sink") is first
    assert isinstance(first, LocalFileSink)
