"""What every test may use: a real Asterisk, calls without a phone, free ports."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.databases import (  # noqa: F401  # fixtures
    another,
    database,
    database_url,
    empty,
    empty_url,
    migrated_postgres,
    migrated_sqlite,
    postgres,
    postgres_url,
    sqlite_url,
)
from tests.objectstore import object_store  # noqa: F401  # fixture
from tests.system.calls import SOUNDS
from voxtra.ari import ARIClient
from voxtra.ids import new_id, own_id
from voxtra.lab.call import PlacedCall
from voxtra.lab.call import place_call as place
from voxtra.lab.instance import Lab
from voxtra.lab.pbx import OwnPbx, Pbx
from voxtra.preflight import run_checks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on Asterisk; skip what needs SIPp where that is missing, but never on CI."""
    no_sipp = shutil.which("sipp") is None and not os.environ.get("CI")
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "lab" in fixtures or "fresh_lab" in fixtures:
            item.add_marker(pytest.mark.asterisk)
        if no_sipp and item.get_closest_marker("sip"):
            item.add_marker(pytest.mark.skip(reason="needs SIPp: apt-get install sip-tester"))


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the PBX that the user's own settings name."""
    for name in (
        "VOXTRA_ARI_URL",
        "VOXTRA_ARI_USER",
        "VOXTRA_ARI_PASSWORD",
        "VOXTRA_RECORDING_DIR",
    ):
        monkeypatch.delenv(name, raising=False)


async def faults_of(own: OwnPbx) -> list[str]:
    """Return what keeps an Asterisk from carrying the tests: they would fail one by one on it."""
    client = ARIClient(own.ari_url, own.ari_user, own.ari_password, app_name=own_id("check"))
    async with client:
        found = await run_checks(client, own.recording_dir)
    return [f"{check.name}: {check.detail}. {check.fix}" for check in found if not check.ok]


@pytest.fixture(scope="session")
def lab() -> Iterator[Pbx]:
    """One Asterisk for the whole run: a lab, or the one that VOXTRA_TEST_ARI_URL names."""
    own = OwnPbx.from_environment()
    if own is not None:
        try:
            unfit = asyncio.run(faults_of(own))
            if unfit:
                pytest.exit("\n".join(["VOXTRA_TEST_ARI_URL:", *unfit]), returncode=2)
            yield own
        finally:
            shutil.rmtree(own.sounds_dir)
            shutil.rmtree(own.recording_dir / SOUNDS, ignore_errors=True)
        return
    with Lab.start(name="tests") as started:
        yield started


@pytest.fixture
def fresh_lab() -> Iterator[Lab]:
    """Start an Asterisk for this test alone, which may be killed and restarted."""
    with Lab.start(name="fresh") as started:
        yield started


@pytest.fixture
def app_name() -> str:
    """Return a Stasis application's name that no other test uses."""
    return f"test-{new_id()}"


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Return a function that finds a port on loopback free for TCP and UDP."""

    def find() -> int:
        while True:
            with (
                socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            ):
                tcp.bind(("127.0.0.1", 0))
                port = int(tcp.getsockname()[1])
                try:
                    udp.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port

    return find


CallPlacer = Callable[..., asyncio.Task[PlacedCall]]


@pytest.fixture
async def place_call(lab: Pbx, app_name: str) -> AsyncIterator[CallPlacer]:
    """Return a function that starts a call to the test's application, as a task.

    It takes the arguments of `voxtra.lab.call.place_call`; what still runs at the test's end is
    hung up.
    """
    calls: list[asyncio.Task[PlacedCall]] = []

    def begin(**arguments: Any) -> asyncio.Task[PlacedCall]:
        call = asyncio.create_task(place(lab, **{"app": app_name, **arguments}))
        calls.append(call)
        return call

    yield begin
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
