"""A whole app on a real Asterisk; `support` has what these fixtures return."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.receiver import receiving
from tests.system.support import Collector, Hooks
from voxtra import BackendWebhook, VoxtraApp
from voxtra.config import WebhookConfig
from voxtra.lab.pbx import Pbx

AppMaker = Callable[..., VoxtraApp]


@pytest.fixture
def sink() -> Collector:
    """Return the sink of the apps that `make_app` makes."""
    return Collector()


@pytest.fixture
def make_app(lab: Pbx, app_name: str, sink: Collector) -> AppMaker:
    """Return a function that makes an app on the shared Asterisk; options go to the constructor."""

    def make(**options: Any) -> VoxtraApp:
        defaults: dict[str, Any] = {
            "app_name": app_name,
            "reconnect_interval": 0.1,
            "recording_dir": lab.recording_dir,
            "recording_sink": sink,
        }
        return VoxtraApp(lab.ari_url, lab.ari_user, lab.ari_password, **defaults | options)

    return make


@pytest.fixture
async def hooks() -> AsyncIterator[Hooks]:
    """Run a receiver of webhooks and give what it received."""
    async with receiving() as receiver:
        yield Hooks(receiver)


@pytest.fixture
def webhook(hooks: Hooks) -> BackendWebhook:
    """Return the webhook that delivers to `hooks`."""
    return BackendWebhook(WebhookConfig(url=hooks.receiver.url))
