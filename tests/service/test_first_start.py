"""What a service does before it serves: once, also when two begin at the same moment."""

from __future__ import annotations

import asyncio
import logging
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.outbox import all_of, happen
from tests.service.place import rows
from voxtra.config import VoxtraConfig
from voxtra.exceptions import ConfigurationError
from voxtra.service import first_start as module
from voxtra.service.first_start import ADMIN_KEY, begin
from voxtra.store import access, endpoints
from voxtra.store.database import Database
from voxtra.store.schema import keys, principals, tenants, utc_now, webhook_endpoints

URL = "https://203.0.114.1/hook?token=s3cret"


def config_of(url: str = "", **changes: Any) -> VoxtraConfig:
    """Return a configuration with a webhook, or without."""
    webhook = {"url": url, **changes.pop("webhook", {})} if url else {}
    return VoxtraConfig.model_validate({"backend": {"webhook": webhook}, **changes})


async def hooks(database: Database) -> list[Any]:
    """Return the webhook endpoints that there are."""
    found = await rows(database, webhook_endpoints)
    return [row for row in found if row.deleted_at is None]


async def test_an_empty_database_is_made_ready(empty: Database, tmp_path: Path) -> None:
    """Tables, the tenant with its retention, and a key that opens everything."""
    await begin(empty, config_of(retention={"days": 7}), tmp_path)
    (tenant,) = await rows(empty, tenants)
    assert (tenant.id, tenant.retention_days) == ("default", 7)
    secret = (tmp_path / ADMIN_KEY).read_text()
    assert secret.endswith("\n")
    async with empty.read() as connection:
        found = await access.find_key(connection, secret.strip())
    assert found is not None
    assert (found.role, found.tenant_id) == ("admin", "default")


async def test_the_key_is_its_owner_s_alone(
    empty: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its file can be read by nobody else, and no log has it, only the file's name."""
    caplog.set_level(logging.DEBUG, "voxtra")
    (tmp_path / ADMIN_KEY).write_text("of another database")
    (tmp_path / ADMIN_KEY).chmod(0o644)
    (tmp_path / "admin.part").write_text("of a start that was killed")
    await begin(empty, config_of(), tmp_path)
    path = tmp_path / ADMIN_KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    secret = path.read_text().strip()
    assert secret.startswith("vx_")
    assert secret not in caplog.text
    assert secret.split("_", 2)[2] not in caplog.text
    assert str(path) in caplog.text
    assert not (tmp_path / "admin.part").exists()


async def test_the_next_start_changes_nothing(
    empty: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No second key, no second tenant, and no warning a second time."""
    await begin(empty, config_of(retention={"days": 7}), tmp_path)
    first = [await rows(empty, each) for each in (tenants, keys, principals)]
    (tmp_path / ADMIN_KEY).unlink()
    caplog.clear()
    await begin(empty, config_of(retention={"days": 9}), tmp_path)
    assert [await rows(empty, each) for each in (tenants, keys, principals)] == first
    assert not (tmp_path / ADMIN_KEY).exists()
    assert "DELETED" not in caplog.text


async def test_two_first_starts_at_once(empty: Database, empty_url: str, tmp_path: Path) -> None:
    """There is one key, and it is the one in the file."""
    others = [Database(empty_url) for _ in range(3)]
    config = config_of(URL)
    try:
        await asyncio.gather(*(begin(each, config, tmp_path) for each in (empty, *others)))
    finally:
        for each in others:
            await each.close()
    assert [len(await rows(empty, each)) for each in (tenants, keys, principals)] == [1, 1, 1]
    assert len(await hooks(empty)) == 1
    async with empty.read() as connection:
        secret = (tmp_path / ADMIN_KEY).read_text().strip()
        assert await access.find_key(connection, secret) is not None


async def test_a_key_that_can_not_be_written(
    empty: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none then: the next start makes one that somebody can read."""
    with pytest.raises(OSError, match="admin"):
        await begin(empty, config_of(), tmp_path / "missing")
    assert await rows(empty, keys) == []
    await begin(empty, config_of(), tmp_path)
    assert len(await rows(empty, keys)) == 1


async def test_a_start_that_dies_before_the_commit(
    empty: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key in the file opens nothing then, and is replaced by the next start."""
    write = module._write_secret

    def die(path: Path, secret: str) -> None:
        write(path, secret)
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_secret", die)
        with pytest.raises(asyncio.CancelledError):
            await begin(empty, config_of(), tmp_path)
    dead = (tmp_path / ADMIN_KEY).read_text().strip()
    await begin(empty, config_of(), tmp_path)
    made = (tmp_path / ADMIN_KEY).read_text().strip()
    async with empty.read() as connection:
        assert await access.find_key(connection, dead) is None
        assert await access.find_key(connection, made) is not None


async def test_a_database_of_another_version(empty: Database, tmp_path: Path) -> None:
    """It is left alone, and the error says what to do."""
    await begin(empty, config_of(), tmp_path)
    async with empty.write() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'later'")
    with pytest.raises(ConfigurationError, match="later"):
        await begin(empty, config_of(), tmp_path)


@pytest.mark.parametrize(("days", "words"), [(30, "DELETED 30 days"), (0, "kept for ever")])
async def test_how_long_recordings_are_kept_is_said_once(
    empty: Database, tmp_path: Path, days: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever starts a service for the first time is warned of what it will delete."""
    await begin(empty, config_of(retention={"days": days}), tmp_path)
    assert words in caplog.text


# -- the webhook of the configuration


async def test_the_webhook_of_the_configuration(database: Database, tmp_path: Path) -> None:
    """It is an endpoint like any other, with its secret and its events."""
    webhook = {"signing_secret": "whsec_" + "QUJD" * 8, "events": ["call.started"]}
    await begin(database, config_of(URL, webhook=webhook), tmp_path)
    (row,) = await hooks(database)
    assert (row.url, row.events, row.secret) == (URL, ["call.started"], webhook["signing_secret"])


@pytest.mark.parametrize("webhook", [{}, {"events": ["call.ended", "call.started"]}])
async def test_the_same_webhook_again(
    database: Database, tmp_path: Path, webhook: dict[str, Any]
) -> None:
    """A restart changes nothing about it: not its secret, which was generated when none was
    configured, and not what waits for it.
    """
    await begin(database, config_of(URL, webhook=webhook), tmp_path)
    before = await hooks(database)
    await happen(database, "c", tenant="default")
    await begin(database, config_of(URL, webhook=webhook), tmp_path)
    assert await hooks(database) == before
    assert [each.state for each in await all_of(database)] == ["waiting"]


async def test_a_webhook_that_moves(database: Database, tmp_path: Path) -> None:
    """What waits goes to its new place; the old secret signs for a while, too."""
    first, second = ("whsec_" + part * 8 for part in ("QUJD", "REVG"))
    await begin(database, config_of(URL, webhook={"signing_secret": first}), tmp_path)
    (before,) = await hooks(database)
    await happen(database, "c", tenant="default")
    moved = {"signing_secret": second, "events": ["call.ended"]}
    await begin(database, config_of(URL + "2", webhook=moved), tmp_path)
    (after,) = await hooks(database)
    assert after.id == before.id
    assert (after.url, after.events, after.secret) == (URL + "2", ["call.ended"], second)
    assert after.old_secret == first
    assert [each.state for each in await all_of(database)] == ["waiting"]


async def test_a_webhook_that_is_removed_and_comes_back(database: Database, tmp_path: Path) -> None:
    """It is gone with its secret; later it is a new one. Endpoints that people made stay."""
    async with database.write() as connection:
        theirs = await endpoints.create(
            connection, "default", url="https://203.0.114.2/", now=utc_now()
        )
    await begin(database, config_of(URL), tmp_path)
    for _ in range(2):
        await begin(database, config_of(), tmp_path)
    assert [row.id for row in await hooks(database)] == [theirs.id]
    await begin(database, config_of(URL), tmp_path)
    assert len(await hooks(database)) == 2


async def test_a_webhook_inside_our_own_network(database: Database, tmp_path: Path) -> None:
    """It is refused unless the configuration allows it; no error and no log has its token."""
    url = "http://127.0.0.1:9/hook?token=s3cret"
    with pytest.raises(ConfigurationError) as refused:
        await begin(database, config_of(url), tmp_path)
    assert "s3cret" not in str(refused.value)
    assert await hooks(database) == []
    await begin(database, config_of(url, delivery={"allow": ["127.0.0.0/8"]}), tmp_path)
    assert len(await hooks(database)) == 1


async def test_no_secret_is_in_a_log_or_an_error(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even in the text of an error of the database, which would name all values."""
    for name in ("voxtra", "alembic"):
        caplog.set_level(logging.DEBUG, name)
    secret = "whsec_" + "QUJD" * 8
    config = config_of(URL, webhook={"signing_secret": secret})
    await begin(database, config, tmp_path)
    assert secret not in caplog.text
    assert secret not in repr(config)
    assert "s3cret" not in caplog.text + repr(config)
    async with database.write() as connection:
        await connection.exec_driver_sql("DROP TABLE webhook_endpoints")
    with pytest.raises(Exception, match="webhook_endpoints") as failed:
        async with database.write() as connection:
            await endpoints.create(connection, "default", url=URL, now=utc_now(), secret=secret)
    assert secret not in str(failed.value)
    assert "s3cret" not in str(failed.value)
