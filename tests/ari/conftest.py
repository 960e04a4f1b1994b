"""One real Asterisk for the wire's tests, and an application of its own for each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from voxtra.ari import ARIClient
from voxtra.ids import new_id
from voxtra.lab.instance import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A real Asterisk."""
    with Lab.start(name="wire") as lab:
        yield lab


@pytest.fixture
async def client(lab: Lab) -> AsyncIterator[ARIClient]:
    """A connected client of the real Asterisk, with an application that nobody else uses."""
    app = f"wire-{new_id()}"
    async with ARIClient(lab.ari_url, lab.ari_user, lab.ari_password, app_name=app) as client:
        yield client
