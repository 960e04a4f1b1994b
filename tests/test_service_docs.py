"""The documentation of the recording service is true: its requests and commands exist, its events
carry what it says, and nothing is left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from aiohttp import web

from tests.receiver import receiving
from tests.store.making import ENDED, TENANT, add_recording, add_tenant
from tests.system.serving import Served, serving
from tests.system.support import eventually
from tests.test_docs import (
    PAGES,
    ROOT,
    SNIPPETS,
    Snippet,
    event_rows_of_the_service,
    name_of,
    read,
)
from tests.web.support import client_of, make_key, service_on
from voxtra.cli import cli
from voxtra.model import DEFAULT_TENANT
from voxtra.service.addresses import AddressGuard
from voxtra.service.delivery import Deliverer
from voxtra.service.disk import BLOBS, Volume, plan
from voxtra.store import endpoints, exports, holds, tombstones
from voxtra.store.database import Database
from voxtra.store.schema import events, metadata
from voxtra.web.problems import PROBLEMS
from voxtra.web.site import document, make_site

COMMAND = re.compile(
    r"^ {4}voxtra (?P<rest>[a-z].*)$|`voxtra (?P<inline>[a-z][^`]*)`", re.MULTILINE
)


@dataclass(frozen=True)
class Call:
    """A curl line: where it is, and the request that it makes."""

    place: str
    method: str
    path: str
    headers: dict[str, str]
    body: str

    def __str__(self) -> str:
        return f"{self.place} {self.method} {self.path}"


def curl_lines() -> Iterator[Call]:
    """Yield every curl line of the documentation, its variables filled with ids."""
    for snippet in SNIPPETS:
        if snippet.language != "sh":
            continue
        for line in snippet.text.replace("\\\n", " ").splitlines():
            if line.startswith("curl "):
                yield call_of(snippet, line)


def call_of(snippet: Snippet, line: str) -> Call:
    """Return the request of a curl line. An option that is not known here fails."""
    words = shlex.split(re.sub(r"\$([A-Z]+)\b", filled, line))[1:]
    method, url, body, headers = "", "", "", {}
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-d":
            body = words.pop(0)
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "--output":
            words.pop(0)
        elif word != "-N":
            assert word.startswith("/v1.0/"), f"{snippet}: {word}"
            url = word
    headers.pop("Authorization")
    return Call(str(snippet), method or "GET", url, headers, body)


def filled(variable: re.Match[str]) -> str:
    """Return what stands for a variable of a shell."""
    return {"API": "/v1.0", "KEY": "key"}.get(variable[1], "0199f3a2c4d07c1e9b52a6f0d3e81b47")


CURL = list(curl_lines())


def test_every_request_has_its_route() -> None:
    """What is shown as a request is one of the OpenAPI document."""
    routes = [
        (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", template)))
        for template, operations in document()["paths"].items()
        for method in operations
    ]
    assert len(CURL) > 30
    assert [
        str(call)
        for call in CURL
        if not any(
            call.method == method and route.fullmatch(call.path.partition("?")[0])
            for method, route in routes
        )
    ] == []


async def test_every_request_is_understood(tmp_path: Path, sqlite_url: str) -> None:
    """A request of the documentation is answered by what it is about, never by what is wrong with
    its fields.
    """
    database = Database(sqlite_url)
    service = service_on(database, tmp_path)
    async with database.write() as connection:
        # ids tell the time: this one is of the month that the filter of an export names
        early = f"{int(ENDED.timestamp() * 1000):012x}7{'0' * 19}"
        await add_recording(connection, id=early, tenant_id=DEFAULT_TENANT, queue="support")
    wrong = []
    async with client_of(make_site(service), await make_key(service, "admin")) as client:
        for call in CURL:
            if "/events" in call.path:
                continue  # it has no end
            answer = await client.request(
                call.method, call.path, content=call.body, headers=call.headers
            )
            said = answer.json() if "json" in answer.headers.get("content-type", "") else {}
            code = said.get("code", "")
            if answer.status_code in (400, 405, 415, 422, 500) or code == "route_not_found":
                wrong.append((str(call), code, said.get("detail")))
    service.blobs.close()
    await service.audio.close()
    await database.close()
    assert wrong == []


def test_every_problem_that_is_shown_is_one():
    """An example of an error has the status, title and fix of its code."""
    shown = [
        json.loads(snippet.text)
        for snippet in SNIPPETS
        if snippet.language == "json" and '"code"' in snippet.text
    ]
    assert shown != []
    for body in shown:
        kind = PROBLEMS[body["code"]]
        assert (body["status"], body["title"], body["fix"]) == (kind.status, kind.title, kind.fix)


def test_troubleshooting_names_codes_that_exist():
    """What the API says to a symptom is a code with that status."""
    text = read("reference/rest.md").partition("## Troubleshooting")[2]
    named = re.findall(r"`(\w+)` \((\d{3})\)", text)
    assert len(named) >= 6
    assert [(code, int(status)) for code, status in named] == [
        (code, PROBLEMS[code].status) for code, _ in named
    ]


async def test_a_lost_catalogue_is_recovered_as_the_page_says(
    lab, app_name, tmp_path, place_call, free_port
):
    """A blob that is put into the PBX's folder under the id that its key has is a recording again,
    with the same audio.
    """
    served = Served(lab, app_name, tmp_path, server={"port": free_port()})

    async def connected() -> bool:
        return (await served.ask("GET", "/readyz")).status_code == 200

    async def listed() -> list[dict[str, Any]]:
        return await served.recordings(state="available")

    async with serving(served):
        await eventually(connected, timeout=20)
        await place_call(to="2000", seconds=1.0)
        (lost,) = await eventually(listed, timeout=20)
    (blob,) = (served.data / "blobs" / "recordings").rglob(f"{lost['id']}.wav")
    found = blob.rename(lab.recording_dir / f"{app_name}-{lost['id']}.wav")
    shutil.rmtree(served.data)
    old = time.time() - 120
    os.utime(found, (old, old))
    async with serving(served):
        (again,) = await eventually(listed, timeout=20)
    assert (again["id"], again["sha256"]) == (lost["id"], lost["sha256"])
    assert (lost["source"], again["source"]) == ("recorded", "recovered")


def command_lines() -> Iterator[tuple[str, str]]:
    """Yield every command line of the documentation with its page; cli.md is made of the commands
    themselves.
    """
    for page in PAGES:
        if page.name != "cli.md":
            for found in COMMAND.finditer(page.read_text(encoding="utf-8")):
                yield name_of(page), found["rest"] or found["inline"]


def test_every_command_is_one():
    """Each `voxtra ...` names a command, with options that it has."""
    wrong = []
    for page, line in command_lines():
        command: click.Command = cli
        words = shlex.split(line, comments=True)
        while words and isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words[0])
            if found is None:
                break
            command = found
            words.pop(0)
        options = {option for each in command.params for option in each.opts} | {"--help"}
        unknown = [word for word in words if word.startswith("-") and word not in options]
        if command is cli or (isinstance(command, click.Group) and words) or unknown:
            wrong.append((page, line))
    assert wrong == []


def test_every_table_has_its_place():
    """Each table of the database is in the overview, and nothing else is."""
    overview = read("reference/database.md").partition("## Tables")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", overview, re.MULTILINE)) == set(metadata.tables)


def test_every_dependency_was_decided():
    """The log of decisions names each library that an installation brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = read("explanation/decisions.md").lower()
    names = [re.split(r"[^\w-]", each)[0] for each in project["dependencies"]]
    assert [name for name in names if name not in text] == []


async def test_service_events_carry_what_the_reference_says(database: Database) -> None:
    """Events that the service writes have exactly the documented keys."""
    async with database.write() as connection:
        await add_tenant(connection)
        recording_id = await add_recording(connection, sha256="f" * 64)
        for act in (holds.place, holds.release, tombstones.delete):
            await act(connection, TENANT, recording_id, actor="me", reason="why", now=ENDED)
        for end in ("available", "failed"):
            made = await exports.create(
                connection, TENANT, [recording_id], created_by="me", now=ENDED
            )
            await exports.begin(connection, TENANT, made)
            if end == "failed":
                await exports.fail(connection, TENANT, made, cause="why", now=ENDED)
                continue
            await exports.finish(
                connection,
                TENANT,
                made,
                done=1,
                failed=0,
                size=1,
                sha256="",
                blob_key="exports/a.zip",
                now=ENDED,
            )
    await disable_by_410(database)
    async with database.read() as connection:
        rows = (await connection.execute(events.select())).all()
    full = plan([Volume((BLOBS,), 0.99, 0)], 0.0, (80.0, 90.0, 95.0)).as_data()
    written = {row.type: set(row.data) for row in rows} | {"disk.low": {*full, "node"}}
    assert written == {
        kind: set(re.findall(r"`(\w+)`", cell))
        for kind, cell in event_rows_of_the_service().items()
    }


async def disable_by_410(database: Database) -> None:
    """Have an endpoint disabled by what its receiver answers."""
    deliverer = Deliverer(database, "docs", guard=AddressGuard(["127.0.0.0/8"]))
    async with receiving() as receiver:
        receiver.answers.append(web.Response(status=410))
        async with database.write() as connection:
            made = await endpoints.create(
                connection, TENANT, url=receiver.url, now=ENDED, events=["recording.held"]
            )
            held = await add_recording(connection)
            await holds.place(connection, TENANT, held, actor="me", reason="why", now=ENDED)

        async def disabled() -> bool:
            async with database.read() as connection:
                found = await endpoints.get(connection, TENANT, made.id)
            return found is not None and found.disabled_at is not None

        running = asyncio.create_task(deliverer.run())
        await eventually(disabled, timeout=15)
        await deliverer.stop(5.0)
        await running
