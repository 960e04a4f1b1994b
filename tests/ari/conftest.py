"""A client of the real Asterisk for the wire's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from voxtra.ari import ARIClient
from voxtra.lab.pbx import Pbx


@pytest.fixture
async def client(lab: Pbx, app_name: str) -> AsyncIterator[ARIClient]:
    """Connect a client to the real Asterisk, with an application that no other test uses."""
    async with ARIClient(lab.ari_url, lab.ari_user, lab.ari_password, app_name=app_name) as client:
        yield client
