"""Tenants, principals and keys in the database."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from voxtra.service.access import (
    ADMIN,
    ROLES,
    SCOPES,
    NotAuthenticated,
    authenticate,
    granted,
    is_valid,
)
from voxtra.store import access
from voxtra.store.access import DEFAULT_TENANT, KEY_PATTERN, NewKey, PrincipalExists
from voxtra.store.database import Database
from voxtra.store.schema import keys, tenants

NOW = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)


async def make(database: Database, **options: Any) -> NewKey:
    """Make a key in the default tenant."""
    wanted: dict[str, Any] = {
        "tenant_id": DEFAULT_TENANT,
        "name": "crm",
        "role": "agent",
        "now": NOW,
        **options,
    }
    async with database.write() as connection:
        return await access.create_key(connection, **wanted)


async def test_the_default_tenant_is_made_once(database):
    """Making it again says that it is there, and changes nothing about it."""
    async with database.write() as connection:
        assert await access.ensure_default(connection, NOW, retention_days=7)
        assert not await access.ensure_default(connection, NOW + timedelta(days=1))
    async with database.read() as connection:
        (row,) = (await connection.execute(select(tenants))).all()
    assert (row.id, row.retention_days, row.created_at) == (DEFAULT_TENANT, 7, NOW)


async def test_only_the_hash_of_a_key_is_stored(database):
    """No column has the key or its secret part; the hash is SHA-256 of the whole."""
    made = await make(database)
    async with database.read() as connection:
        row = (await connection.execute(select(keys))).one()
    assert row.hash == hashlib.sha256(made.secret.encode()).hexdigest()
    assert made.secret not in str(row)
    assert made.secret.split("_", 2)[2] not in str(row)
    assert KEY_PATTERN.fullmatch(made.secret)
    assert made.secret.startswith(f"vx_{made.prefix}_")


async def test_keys_differ(database):
    """Two keys share neither prefix nor secret."""
    made = [await make(database) for _ in range(20)]
    assert len({each.prefix for each in made}) == len({each.secret for each in made}) == 20
    assert len({each.principal_id for each in made}) == 1


async def test_a_key_is_its_principal(database):
    """Who presents a key is the principal that it was made for, with what its role grants."""
    made = await make(database, principal="the CRM", scopes=["calls:read"])
    async with database.read() as connection:
        principal = await authenticate(connection, made.secret, NOW)
    assert principal.id == made.principal_id
    assert principal.key_id == made.id
    assert (principal.tenant_id, principal.name, principal.role) == ("default", "the CRM", "agent")
    assert principal.scopes == {"calls:read"}


@given(given=st.text(max_size=60) | st.from_regex(KEY_PATTERN, fullmatch=True))
def test_what_is_no_key_of_ours_never_matches_the_pattern_by_chance(given):
    """A text is looked up only when it has the form of a key, all of it in ASCII."""
    matched = KEY_PATTERN.fullmatch(given)
    assert matched is None or (given.isascii() and len(given) == 55)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1],
        lambda key: key + "x",
        lambda key: key.swapcase(),
        lambda key: key[:12] + key[13:] + "x",
        lambda key: "",
        lambda key: "vx_" + "\u0660" * 8 + key[11:],
    ],
)
async def test_anything_but_the_key_is_refused(database, change):
    """A key that differs in one letter is nobody's."""
    made = await make(database)
    async with database.read() as connection:
        with pytest.raises(NotAuthenticated, match="not known"):
            await authenticate(connection, change(made.secret), NOW)


async def test_a_revoked_key_keeps_its_time(database):
    """The first revocation counts; the key of another tenant can't be revoked."""
    made = await make(database)
    async with database.write() as connection:
        assert not await access.revoke_key(connection, "other", made.id, now=NOW)
        assert await access.revoke_key(connection, DEFAULT_TENANT, made.id, now=NOW)
        later = NOW + timedelta(days=1)
        assert not await access.revoke_key(connection, DEFAULT_TENANT, made.id, now=later)
        row = await access.get_key(connection, DEFAULT_TENANT, made.id)
        assert row is not None
        assert row.revoked_at == NOW
        with pytest.raises(NotAuthenticated, match="revoked"):
            await authenticate(connection, made.secret, NOW)


async def test_validity_is_looked_at_again(database):
    """A principal that came in is told apart from one whose key has ended since."""
    made = await make(database, expires_at=NOW + timedelta(hours=1))
    async with database.read() as connection:
        principal = await authenticate(connection, made.secret, NOW)
        assert await is_valid(connection, principal, NOW + timedelta(minutes=59))
        assert not await is_valid(connection, principal, NOW + timedelta(minutes=60))


async def test_a_principal_has_one_role(database):
    """A name that is taken with another role is refused, and no key is made."""
    await make(database)
    with pytest.raises(PrincipalExists) as raised:
        await make(database, role="admin")
    assert raised.value.role == "agent"
    async with database.read() as connection:
        assert len(await access.list_keys(connection, DEFAULT_TENANT)) == 1


async def test_the_same_name_in_two_tenants_is_two_principals(database):
    """Names are a tenant's own."""
    mine, other = await make(database), await make(database, tenant_id="other", role="admin")
    assert mine.principal_id != other.principal_id
    async with database.read() as connection:
        assert await access.get_key(connection, DEFAULT_TENANT, other.id) is None
        assert len(await access.list_keys(connection, DEFAULT_TENANT)) == 1


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_key_never_grants_more_than_its_role(role):
    """Whatever scopes are stored with a key, its role is the limit, and an unknown one has none."""
    for scope in SCOPES:
        assert granted(role, [scope]) <= ROLES[role]
        assert granted("unknown", [scope]) == frozenset()
    assert granted(role) == granted(role, [ADMIN]) == ROLES[role]


def test_only_admins_have_everything():
    """The roles are bundles: a supervisor lacks `admin` alone, an auditor adds the audit."""
    assert ROLES["admin"] == set(SCOPES)
    assert ROLES["admin"] - ROLES["supervisor"] == {ADMIN}
    assert ROLES["auditor"] - ROLES["agent"] == {"audit:read"}
    assert not any(scope.endswith((":write", ":delete", ":control")) for scope in ROLES["auditor"])
