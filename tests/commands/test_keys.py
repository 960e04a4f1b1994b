"""`voxtra keys`: made, listed and revoked, and shown only once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.commands.office import Office
from voxtra.service.access import NotAuthenticated, Principal, authenticate
from voxtra.store.schema import utc_now


def principal_of(office: Office, key: str) -> Principal:
    """Return whose key it is, as the API finds out."""

    async def look(connection: AsyncConnection) -> Principal:
        return await authenticate(connection, key, utc_now())

    return office.write(look)


def test_a_key_is_made_used_and_revoked(any_office: Office) -> None:
    """What is printed is the key and nothing else; it works until it is revoked."""
    office = any_office
    made = office.run("keys", "create", "--name", "crm", "--role", "agent")
    key, end, rest = made.out.partition("\n")
    assert (made.code, end, rest) == (0, "\n", "")
    assert "can't be shown again" in made.err
    found = principal_of(office, key)
    assert (found.name, found.role, found.tenant_id) == ("crm", "agent", "default")
    [listed] = office.lines("keys", "ls")
    assert key.startswith(listed["prefix"])
    assert key not in office.run("keys", "ls").out
    assert office.run("keys", "revoke", listed["id"]).out == "the key 'crm' is revoked\n"
    with pytest.raises(NotAuthenticated):
        principal_of(office, key)
    [again] = office.lines("keys", "revoke", listed["id"])
    assert again["revoked_at"] is not None
    assert office.acts() == [
        ("cli", "key.created", listed["id"]),
        ("cli", "key.revoked", listed["id"]),
    ]


def test_a_key_may_end_and_may_have_less_than_its_role(office: Office) -> None:
    """`--scope` takes of the role, `--expires` a span or a date."""
    create = ("keys", "create", "--role", "supervisor", "--scope", "recordings:read")
    [made] = office.lines(*create, "--name", "a", "--expires", "90d")
    ends = datetime.fromisoformat(made["expires_at"])
    assert abs(ends - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)
    assert principal_of(office, made["key"]).scopes == {"recordings:read"}
    [dated] = office.lines(*create, "--name", "b", "--expires", "2100-01-02T03:04Z")
    assert dated["expires_at"] == "2100-01-02T03:04:00Z"
    assert "supervisor  recordings:read" in office.run("keys", "ls").out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "x", "--role", "boss"], "--role"),
        (["--name", " ", "--role", "agent"], "--name: write 1 to 100"),
        (["--name", "x", "--role", "agent", "--scope", "admin"], "no scope of the role agent"),
        (["--name", "x", "--role", "agent", "--expires", "soon"], "write 2026-03-01"),
        (["--name", "x", "--role", "agent", "--expires", "2020-01-01"], "over already"),
        (["--name", "x", "--role", "agent", "--tenant", "acme"], "no tenant 'acme'"),
        (["--name", "x", "--role", "agent", "--tenant", "a/b", "--new-tenant"], "no name for"),
    ],
)
def test_what_is_wrong_is_named(office: Office, options: list[str], said: str) -> None:
    """One line says which option, and what to write."""
    assert said in office.run("keys", "create", *options).complaint
    assert office.lines("keys", "ls") == []


def test_a_tenant_is_made_with_its_first_key_when_that_is_wanted(office: Office) -> None:
    """A misspelt one is not: that has to be said."""
    made = office.run(
        *("keys", "create", "--name", "boss", "--role", "admin"),
        *("--tenant", "acme", "--new-tenant"),
    )
    assert "the tenant acme is new; its recordings are kept 30 days" in made.err
    assert principal_of(office, made.out.strip()).tenant_id == "acme"
    assert office.lines("keys", "ls") == []
    assert len(office.lines("keys", "ls", "--tenant", "acme")) == 1
    assert office.run("keys", "revoke", "nothing").complaint == (
        "there is no key nothing; see voxtra keys ls"
    )


def test_a_principal_has_one_role(office: Office) -> None:
    """A second key of the same name and another role is refused."""
    office.lines("keys", "create", "--name", "crm", "--role", "agent")
    line = office.run("keys", "create", "--name", "crm", "--role", "admin").complaint
    assert "has the role agent" in line
