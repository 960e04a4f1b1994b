"""Log lines say what the service does, and nothing that its libraries find remarkable."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from voxtra.web.logs import configure


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Return what is logged while the test runs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    made = io.StringIO()
    configure(json=False, stream=made)
    yield made
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("name", ["alembic.runtime.plugins", "uvicorn.error", "uvicorn"])
def test_libraries_tell_only_what_is_wrong(stream: io.StringIO, name: str) -> None:
    """Their INFO is not ours; their warnings are."""
    logging.getLogger(name).info("setup plugin alembic.autogenerate.schemas")
    logging.getLogger("voxtra.service.node").info("ours")
    logging.getLogger(name).warning("theirs")
    ours, theirs = stream.getvalue().splitlines()
    assert "ours" in ours
    assert "theirs" in theirs
