"""Every route with every role, on things of its own tenant and of another one: made from the
OpenAPI document, so that a new route is in it by being there.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import insert, update

from tests.web.support import FOREIGN, NoPbx, client_of, make_key, service_on
from voxtra.audio.peaks import PeaksMaker
from voxtra.events import EventType, VoxtraEvent
from voxtra.ids import new_id
from voxtra.service.access import ROLES
from voxtra.service.context import Service
from voxtra.store import deliveries, endpoints, exports, journal
from voxtra.store import schema as tables
from voxtra.store.access import DEFAULT_TENANT, create_key, create_tenant
from voxtra.web.site import document, make_site

MARK = "only-for-the-first-tenant"

Operation = dict[str, Any]

OPERATIONS: list[tuple[str, str, Operation]] = [
    (path, method.upper(), operation)
    for path, methods in document()["paths"].items()
    for method, operation in methods.items()
]
SECURED = [each for each in OPERATIONS if {} not in each[2].get("security", [{}])]
PUBLIC = {"/healthz", "/readyz", "/metrics"}


def scopes_of(operation: Operation) -> set[str]:
    """Return the scopes that an operation needs, as it is documented."""
    return set(operation["security"][0]["key"])


async def things(service: Service, tenant_id: str = DEFAULT_TENANT) -> dict[str, str]:
    """Make one of everything in a tenant, and return the ids by the names in paths."""
    now = service.clock()
    key = f"recordings/{tenant_id}/{new_id()}.wav"
    await service.blobs.write(key, [WAV])
    await service.blobs.write(f"{key}.peaks", [PEAKS])
    ids = {name: new_id() for name in ("recording_id", "call_id", "conference_id")}
    owned: dict[str, Any] = {"tenant_id": tenant_id}
    async with service.database.write() as connection:
        await create_tenant(connection, tenant_id, now=now)
        await connection.execute(
            insert(tables.calls).values(
                id=ids["call_id"],
                **owned,
                caller=MARK,
                state="completed",
                direction="inbound",
                created_at=now,
                ended_at=now,
            )
        )
        await connection.execute(
            insert(tables.conferences).values(
                id=ids["conference_id"], **owned, name=MARK, state="ended", created_at=now
            )
        )
        await connection.execute(
            insert(tables.participants).values(
                id=new_id(),
                **owned,
                conference_id=ids["conference_id"],
                call_id=ids["call_id"],
                joined_at=now,
            )
        )
        await connection.execute(
            insert(tables.recordings).values(
                id=ids["recording_id"],
                **owned,
                name=MARK,
                call_id=ids["call_id"],
                target="snoop",
                format="wav",
                layout="mono",
                state="available",
                direction="inbound",
                requested_at=now,
                started_at=now,
                ended_at=now,
                available_at=now,
                duration_ms=1000,
                samples=8000,
                sample_rate=8000,
                channels=1,
                size=len(WAV),
                sha256="0" * 64,
                blob_key=key,
                peaks_key=f"{key}.peaks",
                expires_at=now + timedelta(days=30),
            )
        )
        made = await create_key(
            connection, **owned, name=f"{MARK} {new_id()}", role="agent", now=now
        )
        ids["key_id"] = made.id
        url = f"https://{MARK}.example/"
        ids["endpoint_id"] = (await endpoints.create(connection, tenant_id, url=url, now=now)).id
        event = VoxtraEvent(EventType.RECORDING_AVAILABLE, ids["call_id"], {"name": MARK})
        await journal.append(connection, event, tenant_id=tenant_id)
        page = await deliveries.page(connection, tenant_id, endpoint_id=ids["endpoint_id"])
        ids["delivery_id"] = page[0].id
        ids["export_id"] = await exports.create(
            connection, tenant_id, [ids["recording_id"]], created_by=MARK, now=now
        )
        await connection.execute(
            update(tables.exports)
            .where(tables.exports.c.id == ids["export_id"])
            .values(
                state="available",
                done=1,
                size=len(WAV),
                blob_key=key,
                finished_at=now,
                expires_at=now + timedelta(days=7),
            )
        )
    return ids


WAV = b"RIFF\xa4>\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00\x80>\x00\x00"
WAV += b"\x02\x00\x10\x00data\x80>\x00\x00" + bytes(16_000)


_MAKER = PeaksMaker(8000, 1, 8000, len(WAV))
_MAKER.hear(np.zeros((1, 8000), np.int16))
PEAKS = _MAKER.peaks().encode()


def request_of(path: str, operation: Operation, ids: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """Return the path with ids in it, and the example of the body, if there is one."""
    missing = [
        each["name"]
        for each in operation.get("parameters", ())
        if each["in"] == "path" and each["name"] not in ids
    ]
    assert not missing, f"{path}: `things` makes nothing for {missing}"
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    body = None
    if content is not None:
        schema = content["schema"]
        reference = schema.get("$ref") or next(
            each["$ref"] for each in schema["anyOf"] if "$ref" in each
        )
        schemas = document()["components"]["schemas"]
        body = dict(schemas[reference.rpartition("/")[2]]["examples"][0])
        if "recording_ids" in body:
            body["recording_ids"] = [ids["recording_id"]]
        if "call_id" in body:
            body["call_id"] = ids["call_id"]
        if "name" in body:
            body["name"] = new_id()
    return path.format(**ids), {} if body is None else {"json": body}


@pytest.fixture
def service(database, tmp_path, clock):
    """Return a service that nobody asks too much."""
    config = {"server": {"requests_per_second": 10_000, "burst": 10_000}}
    return service_on(database, tmp_path, config=config, control=NoPbx(), clock=clock)


@pytest.fixture
def site(service):
    """Return its site; streams end at once."""
    made = make_site(service)
    made.state.closing.set()
    return made


def undocumented(operation: Operation, answer: httpx.Response) -> bool:
    """Tell whether an answer is one that its operation does not speak of."""
    return str(answer.status_code) not in operation["responses"]


def failed(answer: httpx.Response) -> bool:
    """Tell whether something broke; that the PBX of these tests is away is no fault."""
    return answer.status_code >= 500 and answer.json()["code"] != "pbx_unreachable"


async def test_without_a_key_nothing_is_open(site, service):
    """Every route but those about the process itself wants a key, before it looks at anything."""
    ids = await things(service)
    wrong = []
    async with client_of(site) as client:
        for path, method, operation in SECURED:
            url, body = request_of(path, operation, ids)
            answer = await client.request(method, url, **body)
            if answer.status_code != 401 or undocumented(operation, answer):
                wrong.append((method, path, answer.status_code))
    assert wrong == []
    assert {path for path, *_ in OPERATIONS} - {path for path, *_ in SECURED} == PUBLIC


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_each_role_may_what_its_scopes_say(site, service, role):
    """On things of its own tenant a role is refused exactly where a scope is missing, with that
    scope named; nothing fails, and no status is undocumented.
    """
    key = await make_key(service, role)
    wrong = []
    async with client_of(site, key) as client:
        for path, method, operation in SECURED:
            ids = await things(service)
            url, body = request_of(path, operation, ids)
            answer = await client.request(method, url, **body)
            missing = scopes_of(operation) - ROLES[role]
            refused = answer.status_code == 403
            if (
                answer.status_code in (401, 404, 429)
                or failed(answer)
                or refused != bool(missing)
                or undocumented(operation, answer)
                or (refused and method != "HEAD" and answer.json()["missing_scope"] not in missing)
            ):
                wrong.append((method, path, answer.status_code, answer.text))
    assert wrong == []


@pytest.mark.parametrize("role", ["admin", "auditor"])
async def test_nothing_of_another_tenant_is_seen_or_changed(site, service, role):
    """An id of another tenant is 404 wherever the role would be allowed, a list has nothing of it,
    and afterwards everything is as it was.
    """
    ids = await things(service)
    key, own = await make_key(service, role, FOREIGN), await make_key(service, "admin")
    wrong = []
    async with client_of(site, own) as client:
        before = await everything(client, ids)
    async with client_of(site, key) as client:
        for path, method, operation in SECURED:
            if scopes_of(operation) - ROLES[role]:
                continue
            url, body = request_of(path, operation, ids)
            answer = await client.request(method, url, **body)
            asked = url + str(body)  # an id that was sent may be repeated
            leaks = MARK in answer.text or any(
                each in answer.text for each in ids.values() if each not in asked
            )
            expected = answer.status_code == 404 if "{" in path else not failed(answer)
            if leaks or not expected or undocumented(operation, answer):
                wrong.append((method, path, answer.status_code, answer.text))
    assert wrong == []
    async with client_of(site, own) as client:
        assert await everything(client, ids) == before


async def everything(
    client: httpx.AsyncClient, ids: dict[str, str]
) -> dict[str, tuple[int, bytes]]:
    """Return what a tenant sees of its things."""
    found = {}
    for path, method, operation in SECURED:
        if method == "GET" and "{" in path:
            answer = await client.get(request_of(path, operation, ids)[0])
            found[path] = (answer.status_code, answer.content)
    return found


async def test_ids_that_are_none_are_not_found(site, service):
    """Whatever stands in the place of an id is not found, and breaks nothing."""
    key = await make_key(service, "admin")
    odd = ["x", "0" * 32, "\u20ac", "a" * 2000, "%2e%2e", "'", "1 OR 1=1", "-1"]
    wrong = []
    async with client_of(site, key) as client:
        for (path, method, operation), text in itertools.product(SECURED, odd):
            if "{" not in path:
                continue
            names = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            ids = dict.fromkeys((*names, "recording_id", "call_id", "conference_id"), text)
            url, body = request_of(path, operation, ids)
            answer = await client.request(method, url, **body)
            if answer.status_code not in (404, 400, 405) or (
                answer.status_code == 405 and text != "%2e%2e"
            ):
                wrong.append((method, path, text, answer.status_code, answer.text))
    assert wrong == []
