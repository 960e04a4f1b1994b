"""Keys over the REST API."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.web.support import FOREIGN, client_of, make_key
from voxtra.service.access import ROLES


async def test_a_made_key_is_shown_once_and_works(admin, site):
    """The answer to making a key is the only one with its secret, which is accepted at once."""
    made = await admin.post("/v1.0/keys", json={"name": "crm", "role": "agent"})
    assert made.status_code == 201
    body = made.json()
    assert body["key"].startswith(body["prefix"] + "_")
    assert made.headers["location"] == f"/v1.0/keys/{body['id']}"
    got = await admin.get(made.headers["location"])
    assert got.json() == {name: value for name, value in body.items() if name != "key"}
    listed = (await admin.get("/v1.0/keys")).text
    assert body["key"] not in listed
    async with client_of(site, body["key"]) as crm:
        assert (await crm.get("/v1.0/usage")).status_code == 200


async def test_a_revoked_key_is_refused_from_then_on(admin, site):
    """Revoking ends a key at once and for ever, and may be said twice."""
    made = (await admin.post("/v1.0/keys", json={"name": "crm", "role": "agent"})).json()
    async with client_of(site, made["key"]) as crm:
        assert (await crm.get("/v1.0/usage")).status_code == 200
        first = (await admin.delete(f"/v1.0/keys/{made['id']}")).json()
        assert first["revoked_at"] is not None
        assert (await admin.delete(f"/v1.0/keys/{made['id']}")).json() == first
        refused = await crm.get("/v1.0/usage")
    assert refused.status_code == 401
    assert refused.json()["detail"] == "The key was revoked."


async def test_a_key_expires(admin, site, clock):
    """A key works until `expires_at`, and not from then on."""
    at = clock.now + timedelta(hours=1)
    wanted = {"name": "crm", "role": "agent", "expires_at": at.isoformat()}
    made = (await admin.post("/v1.0/keys", json=wanted)).json()
    async with client_of(site, made["key"]) as crm:
        clock.go(minutes=59, seconds=59)
        assert (await crm.get("/v1.0/usage")).status_code == 200
        clock.go(seconds=1)
        refused = await crm.get("/v1.0/usage")
    assert refused.status_code == 401
    assert refused.json()["detail"] == "The key has expired."


async def test_a_time_that_is_over_is_refused(admin, clock):
    """A key that would never work is not made."""
    wanted = {"name": "crm", "role": "agent", "expires_at": clock.now.isoformat()}
    answer = await admin.post("/v1.0/keys", json=wanted)
    assert answer.status_code == 400
    assert answer.json()["field"] == "expires_at"


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_a_key_has_what_its_role_has(admin, role):
    """Without `scopes` a key grants the bundle of its role."""
    made = await admin.post("/v1.0/keys", json={"name": role, "role": role})
    assert made.json()["scopes"] == sorted(ROLES[role])


async def test_scopes_narrow_a_role(admin, site):
    """With `scopes` a key grants these of its role and no others."""
    wanted = {"name": "list", "role": "agent", "scopes": ["calls:read"]}
    made = (await admin.post("/v1.0/keys", json=wanted)).json()
    assert made["scopes"] == ["calls:read"]
    async with client_of(site, made["key"]) as narrow:
        refused = await narrow.get("/v1.0/usage")
    assert refused.status_code == 403
    assert refused.json()["missing_scope"] == "recordings:read"


async def test_scopes_outside_the_role_are_refused(admin):
    """A key can't be given what its role has not."""
    wanted = {"name": "x", "role": "agent", "scopes": ["recordings:delete"]}
    answer = await admin.post("/v1.0/keys", json=wanted)
    assert answer.status_code == 400
    assert answer.json()["field"] == "scopes"
    assert "recordings:delete" in answer.json()["detail"]


async def test_a_principal_keeps_its_role(admin):
    """Several keys of one principal share its role; a key with another role is refused."""
    first = await admin.post(
        "/v1.0/keys", json={"name": "old", "role": "agent", "principal": "crm"}
    )
    second = await admin.post(
        "/v1.0/keys", json={"name": "new", "role": "agent", "principal": "crm"}
    )
    assert first.json()["principal_id"] == second.json()["principal_id"]
    other = await admin.post("/v1.0/keys", json={"name": "x", "role": "admin", "principal": "crm"})
    assert other.status_code == 409
    assert other.json()["code"] == "principal_exists"


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"admin"}))
async def test_keys_are_for_admins(site, service, role):
    """No role but admin sees or makes keys."""
    async with client_of(site, await make_key(service, role)) as client:
        for answer in (
            await client.get("/v1.0/keys"),
            await client.post("/v1.0/keys", json={"name": "x", "role": role}),
        ):
            assert answer.status_code == 403
            assert answer.json()["missing_scope"] == "admin"


async def test_a_foreign_key_is_not_found(admin, site, service):
    """The id of another tenant's key is like one that was never given out."""
    made = (await admin.post("/v1.0/keys", json={"name": "crm", "role": "agent"})).json()
    async with client_of(site, await make_key(service, "admin", FOREIGN)) as other:
        assert [each["name"] for each in (await other.get("/v1.0/keys")).json()["result"]] == [
            "the admin"
        ]
        for answer in (
            await other.get(f"/v1.0/keys/{made['id']}"),
            await other.delete(f"/v1.0/keys/{made['id']}"),
        ):
            assert answer.status_code == 404
            assert answer.json()["code"] == "key_not_found"
    assert (await admin.get(f"/v1.0/keys/{made['id']}")).json()["revoked_at"] is None


async def test_pages_hold_every_key_once(admin):
    """Walking the pages gives every key once, newest first, and the last page has no token."""
    names = [f"key {number}" for number in range(5)]
    for name in names:
        await admin.post("/v1.0/keys", json={"name": name, "role": "agent"})
    found, token = [], ""
    while True:
        page = await admin.get("/v1.0/keys", params={"page_size": 2, "page_token": token})
        found += [each["name"] for each in page.json()["result"]]
        token = page.json()["next_page_token"]
        if not token:
            break
    assert found == [*reversed(names), "the admin"]


@pytest.mark.parametrize("token", ["x", "%%%", "cDE6LQ", "p1:abc", "\u20ac"])
async def test_a_made_up_token_is_refused(admin, token):
    """A page token that no list gave is named as the fault."""
    answer = await admin.get("/v1.0/keys", params={"page_token": token})
    assert answer.status_code == 400
    assert answer.json()["field"] == "page_token"


async def test_making_and_revoking_are_audited(admin):
    """The audit says who made and who revoked a key, by which request."""
    made = await admin.post("/v1.0/keys", json={"name": "crm", "role": "agent"})
    key_id = made.json()["id"]
    await admin.delete(f"/v1.0/keys/{key_id}")
    await admin.delete(f"/v1.0/keys/{key_id}")
    acts = (await admin.get("/v1.0/audit", params={"subject_id": key_id})).json()["result"]
    assert [act["action"] for act in acts] == ["key.revoked", "key.created"]
    assert acts[1]["request_id"] == made.headers["x-request-id"]
    assert acts[1]["remote"] == "127.0.0.1"
    assert acts[1]["detail"] == {"role": "agent"}
