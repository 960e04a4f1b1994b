"""The documentation is true: its links lead somewhere, its snippets run, and nothing is left out.

A Python snippet compiles. One that follows `<!-- runs on the lab -->` is started as a program,
gets a call, records it, and ends at SIGTERM; one that follows `<!-- tested: NAME -->` is used by a
test below. A YAML snippet is a configuration of Voxtra.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import hashlib
import hmac
import importlib
import inspect
import os
import re
import signal
import subprocess
import sys
import textwrap
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

from tests.receiver import receiving
from tests.system.support import Hooks, eventually, run_app
from voxtra import ARIClient, BackendWebhook, CallSession, EventType, VoxtraApp, exceptions
from voxtra.audio.formats import FORMATS
from voxtra.bridge import Bridge
from voxtra.cli import cli
from voxtra.conference import Conference
from voxtra.config import VoxtraConfig, WebhookConfig
from voxtra.exceptions import DialFailed, RecordingFailed
from voxtra.lab.call import place_call as place
from voxtra.lab.pbx import Pbx
from voxtra.model import (
    Disposition,
    EndReason,
    Layout,
    Recording,
    RecordingSource,
    RecordingState,
    RecordingTarget,
)
from voxtra.signing import Signer

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


WORDS = """
    audit blob cause conference delivery export hold ingest job key lane layout lease manifest node
    peaks principal prompt purge recording replay retention role scope sink snoop target tenant
    tombstone track watermark worker
"""
"""What the glossary has to explain where a page uses it."""


def name_of(page: Path) -> str:
    """Return a page's path within the repository."""
    return str(page.relative_to(ROOT))


def read(page: str) -> str:
    """Return the text of a page of docs/."""
    return (DOCS / page).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def snippets() -> Iterator[Snippet]:
    """Yield every fenced block."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            line = text.count("\n", 0, found.start("text"))
            yield Snippet(page, line, found["language"], found["mark"] or "", found["text"])


SNIPPETS = list(snippets())
PYTHON = [snippet for snippet in SNIPPETS if snippet.language == "python"]
RUNNABLE = [snippet for snippet in PYTHON if snippet.mark == "runs on the lab"]


def run_snippet(name: str) -> dict[str, Any]:
    """Run the snippet that is marked as tested by a test, and return its names."""
    (snippet,) = (each for each in PYTHON if each.mark == f"tested: {name}")
    names: dict[str, Any] = {"__name__": f"docs_{name}"}
    exec(compile(snippet.text, str(snippet), "exec"), names)
    return names


def prose(page: Path) -> str:
    """Return a page's text without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Return where a page's relative links lead."""
    targets = [found["target"] for found in LINK.finditer(prose(page))]
    return [target for target in targets if not target.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """Return what can follow # in a link to a page, as GitHub makes it of the headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchor, number = plain, 0
        while anchor in found:
            number += 1
            anchor = f"{plain}-{number}"
        found.add(anchor)
    return found


def exists(place: str) -> bool:
    """Tell whether a file of the package (`ari/bus.py`), or a name in a module (`capture.STOP`), is
    there.
    """
    package = ROOT / "src" / "voxtra"
    if place.endswith(".py"):
        return (package / place).is_file()
    module, *names = place.split(".")
    for parent in ("voxtra", "voxtra.telephony", "voxtra.ari"):
        if (ROOT / "src" / parent.replace(".", "/") / f"{module}.py").is_file():
            found: Any = importlib.import_module(f"{parent}.{module}")
            for name in names:
                found = getattr(found, name, None)
            return found is not None
    return False


# -- form


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    """A relative link names a file of the repository, and its anchor a heading of that page."""
    broken = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        there = file.is_relative_to(ROOT) and file.exists()
        if not there or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_found():
    """From the README each page of the documentation is reached by links."""
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.is_file():
            reached.add(page)
            waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_python_snippets_compile(snippet):
    """What is shown as Python is Python, and what it imports from Voxtra is there."""
    tree = ast.parse(snippet.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("voxtra"):
            names: dict[str, Any] = {}
            exec(ast.unparse(node), names)


@pytest.mark.parametrize("snippet", [s for s in SNIPPETS if s.language == "yaml"], ids=str)
def test_yaml_snippets_are_configurations(snippet, tmp_path, monkeypatch):
    """What is shown as YAML is taken by `VoxtraConfig`."""
    for name in re.findall(r"\$\{(\w+)\}", snippet.text):
        monkeypatch.setenv(name, "set-by-the-test")
    path = tmp_path / "voxtra.yaml"
    path.write_text(snippet.text, encoding="utf-8")
    VoxtraConfig.from_yaml(path)


@pytest.mark.parametrize("script", ["generate-lifecycle-docs", "generate-reference-docs"])
def test_generated_pages_are_current(script):
    """What a script writes into the pages is what it would write now."""
    command = [sys.executable, ROOT / "script" / script, "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# -- completeness


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("reference/app.md", VoxtraApp),
        ("reference/call.md", CallSession),
        ("reference/call.md", Bridge),
        ("reference/call.md", Conference),
        ("reference/ari.md", ARIClient),
    ],
)
def test_every_public_member_has_its_place(page, kind):
    """Each public method, property and attribute of a class is on its page."""
    text = read(page)
    internal = {"open", "close", "events_websocket"} if kind is ARIClient else set()
    slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
    names = {name for name in [*dir(kind), *slots] if not name.startswith("_")} - internal
    assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()


def test_every_parameter_of_the_app_is_explained():
    """The constructor's table has all parameters."""
    text = read("reference/app.md").partition("## Constructor")[2].partition("\n## ")[0]
    parameters = list(inspect.signature(VoxtraApp).parameters)
    assert [name for name in parameters if f"`{name}`" not in text] == []


def test_every_value_of_a_recording_is_explained():
    """Targets, layouts, end reasons and states are on the page about recording."""
    text = read("reference/recording.md")
    values = [
        *RecordingTarget,
        *Layout,
        *EndReason,
        *RecordingSource,
        RecordingState.AVAILABLE,
        RecordingState.FAILED,
    ]
    assert [value for value in values if f"`{value}`" not in text and f'"{value}"' not in text] == [
        Layout.MONO
    ]
    assert "`mono`" in read("reference/app.md")


def test_every_field_of_a_recording_is_explained():
    """The value itself is on the page about recording."""
    text = read("reference/recording.md").partition("## Recording\n")[2].partition("\n## ")[0]
    names = [field.name for field in dataclasses.fields(Recording)]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_disposition_is_explained():
    """How a dial ends is on the page about calling somebody."""
    text = read("how-to/originate.md")
    assert [d for d in Disposition if d is not Disposition.ANSWERED and f"`{d}`" not in text] == []


def test_every_error_has_its_place():
    """The tree of errors has all of them."""
    text = read("reference/errors.md")
    assert [name for name in exceptions.__all__ if f"`{name}`" not in text] == []


def test_every_format_has_its_place():
    """The table of formats has all names, aliases too."""
    text = read("reference/formats.md")
    assert [name for name in FORMATS if f"`{name}`" not in text] == []


def test_every_key_of_the_configuration_has_its_place():
    """Each key is in the table of its block."""
    text = read("reference/config.md")

    def missing(model: type[BaseModel], title: str) -> Iterator[str]:
        block = text.partition(f"### {title}\n")[2].partition("\n### ")[0]
        path = "" if title == "The top" else title.strip("`") + "."
        for name, field in model.model_fields.items():
            if f"| `{name}` |" not in block:
                yield f"{path}{name}"
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    listed = getattr(field.annotation, "__origin__", None) is list
                    yield from missing(kind, f"`{path}{name}{'[]' if listed else ''}`")

    assert list(missing(VoxtraConfig, "The top")) == []


def test_every_command_has_its_place():
    """Each command and subcommand has a section."""
    text = read("reference/cli.md")

    def paths(group: click.Group, path: str) -> Iterator[str]:
        context = click.Context(group)
        for name in group.list_commands(context):
            yield f"{path} {name}"
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from paths(command, f"{path} {name}")

    assert [path for path in paths(cli, "voxtra") if f"### `{path}`" not in text] == []


SERVICE_EVENTS = "## The recording service\n"


def event_rows() -> dict[str, str]:
    """Return for each event type of the reference what its data column says."""
    return _event_rows(read("reference/events.md"))


def event_rows_of_the_service() -> dict[str, str]:
    """Return those of the events that an app alone never emits."""
    return _event_rows(
        read("reference/events.md").partition(SERVICE_EVENTS)[2].partition("\n## ")[0]
    )


def _event_rows(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `([a-z_.]+)` \|[^|]*\|([^|]*)\|$", text, re.M))


def test_every_event_has_its_place():
    """Events that are emitted are in a table, the others are named as later ones."""
    later = {"user.transcript", "agent.response", "barge_in"}
    assert set(event_rows()) == set(EventType) - later
    assert all(f"`{name}`" in read("reference/events.md") for name in later)


@pytest.mark.parametrize(
    "page",
    [
        "reference/recording.md",
        "reference/rest.md",
        "reference/database.md",
        "explanation/architecture.md",
        "explanation/service.md",
    ],
)
def test_every_word_is_in_the_glossary(page):
    """The kinds of things that a recording and the service are made of are explained where words
    are explained.
    """
    text = read("glossary.md")
    used = [word for word in WORDS.split() if word in read(page)]
    assert [word for word in used if f"| {word} |" not in text] == []


# -- truth


def test_what_is_known_of_asterisk_says_where_it_is_used():
    """Each row about Asterisk's behaviour names files, or names in them, that exist."""
    rows = re.findall(
        r"^\|[^|]+\|[^|]+\|([^|]+)\|$", read("explanation/asterisk-behaviour.md"), re.M
    )
    places = [place for row in rows for place in re.findall(r"`([^`]+)`", row)]
    assert len(places) > 40
    assert [place for place in places if not exists(place)] == []


def test_every_requirement_is_answered():
    """Each row of the requirements is there, in place or marked as later."""
    text = read("requirements.md")
    counts = {"V": 11, "R": 7, "A": 3, "B": 12}
    rows = [f"{kind}{n}" for kind, count in counts.items() for n in range(1, count + 1)] + ["C4"]
    lines = {row: next(s for s in text.splitlines() if s.startswith(f"| {row} |")) for row in rows}
    later = [row for row, line in lines.items() if "*later*" in line]
    assert later == ["V9", "B4", "B10"]
    assert all(line.count("](") >= 2 for row, line in lines.items() if row not in later)


def test_the_verification_snippet_accepts_what_is_signed():
    """The receiver's code of the how-to agrees with what is sent, and refuses anything else."""
    body, secret = b'{"a":1}', "rotate-me"
    sent = Signer(secret).headers(body, message_id="m", timestamp=1)["X-Voxtra-Signature"]
    is_genuine = run_snippet("verify")["is_genuine"]
    assert is_genuine(body, sent, secret)
    assert not is_genuine(body + b" ", sent, secret)
    assert not is_genuine(body, sent, "another")
    assert sent == hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("secret", ["rotate-me", "whsec_c2VjcmV0LWtleS1vZi0yNC1ieXRlcw=="])
def test_the_standard_webhooks_snippet_accepts_what_is_signed(secret):
    """The how-to's use of the standardwebhooks library agrees with what is sent."""
    import time

    from standardwebhooks.webhooks import WebhookVerificationError

    body = b'{"a":1}'
    headers = Signer(secret).headers(body, message_id="m", timestamp=int(time.time()))
    verified = run_snippet("verify-standard")["verified"]
    assert verified(body, headers, secret) == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        verified(b'{"a":2}', headers, secret)


async def test_the_adapter_snippet_drives_an_app():
    """The how-to's adapter serves a call: it is answered, and hung up when its handler is done."""
    intercom = run_snippet("adapter")["Intercom"]()
    app = VoxtraApp(telephony=intercom)
    served: asyncio.Future[CallSession] = asyncio.get_running_loop().create_future()

    @app.default()
    async def handle(call: CallSession) -> None:
        await call.answer()
        served.set_result(call)

    async with run_app(app):
        intercom.ring()
        call = await asyncio.wait_for(served, 5)
        await asyncio.wait_for(call.wait_ended(), 5)
        assert (call.caller_id, call.called_number, call.end_cause) == ("door", "100", 16)


@pytest.mark.asterisk
def test_the_lab_snippet_is_a_passing_test():
    """The how-to's test of an app passes as it stands."""
    run_snippet("lab")["test_a_call_is_recorded"]()


@pytest.mark.parametrize("snippet", RUNNABLE, ids=str)
async def test_runnable_snippets_record_a_call(lab: Pbx, tmp_path, snippet):
    """The program as it is printed serves a call, leaves a stereo file with both sides in it, and
    ends with 0 at SIGTERM.
    """
    path = tmp_path / "app.py"
    path.write_text(snippet.text, encoding="utf-8")
    settings = {
        "VOXTRA_ARI_URL": lab.ari_url,
        "VOXTRA_ARI_USER": lab.ari_user,
        "VOXTRA_ARI_PASSWORD": lab.ari_password,
        "VOXTRA_RECORDING_DIR": str(lab.recording_dir),
    }
    before = set(lab.recording_dir.rglob("*.wav"))
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        str(path),
        env=os.environ | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with ARIClient(lab.ari_url, lab.ari_user, lab.ari_password) as ari:

            async def serves() -> bool:
                return "voxtra" in {one.name for one in await ari.list_applications()}

            await eventually(serves, timeout=15)
        placed = await place(lab, to="1000", say="tone:440", seconds=6.0)
        assert placed.answered

        def joined() -> list[Path]:
            new = set(lab.recording_dir.rglob("*.wav")) - before
            return [one for one in new if not one.stem.endswith(("-in", "-out"))]

        await eventually(joined, timeout=10)
    finally:
        if program.returncode is None:
            program.send_signal(signal.SIGTERM)
        printed, errors = await asyncio.wait_for(program.communicate(), 20)
    assert (program.returncode, errors.decode()) == (0, "")
    (recorded,) = joined()
    assert "record" in printed.decode()
    with wave.open(str(recorded)) as file:
        assert file.getnchannels() == 2
        assert file.getnframes() > 8000 / 2


async def test_events_carry_what_the_reference_says(lab: Pbx, app_name, place_call):
    """Real events of calls, transfers and recordings have exactly the documented keys.

    Keys of a type that depend on how it came about are documented in one cell: an event has some of
    them, all events of the type together have all but those of faults.
    """
    transferred = asyncio.Event()

    async def handle(call: CallSession) -> None:
        await call.answer()
        if call.called_number == "2000":
            raise LookupError("for the error event")
        await call.record_start(f"events-of-{call.id}")
        await call.play_file("digits:1")
        await call.record_pause()
        await call.record_resume()
        await call.record_stop()
        conference = await app.switchboard.conference("of all")
        await conference.add(call)
        await conference.remove(call)
        await conference.close()
        with pytest.raises(RecordingFailed):
            await call.record_start(f"events-of-{call.id}")
        with pytest.raises(DialFailed):
            await call.transfer_to("Local/busy@lab-phone/n")
        await call.transfer_to("Local/dtmf-5@lab-phone/n")
        transferred.set()

    async with receiving() as receiver:
        hooks = Hooks(receiver)
        app = VoxtraApp(
            lab.ari_url,
            lab.ari_user,
            lab.ari_password,
            app_name=app_name,
            webhook=BackendWebhook(WebhookConfig(url=receiver.url)),
            recording_dir=lab.recording_dir,
        )
        app.default(handle)
        async with run_app(app):
            first = place_call(seconds=30)
            await asyncio.wait_for(transferred.wait(), 15)
            await hooks.wait_for("dtmf.received")
            first.cancel()
            await place_call(to="2000", seconds=5)
            await hooks.wait_for("call.ended", 3)
    rows = event_rows()
    seen: dict[str, set[str]] = {}
    common = {"recording_id", "name", "format", "end_reason"}
    for event in hooks.events:
        kind = event["type"]
        keys = set(event["data"]) - (common if kind.startswith("recording.") else set())
        assert {key for key in keys if f"`{key}`" not in rows[kind]} == set(), kind
        seen.setdefault(kind, set()).update(keys)
    assert set(seen) == set(rows) - set(event_rows_of_the_service())
    by_phone_or_fault = {"replaced_by", "channel", "lost_seconds", "file_path"}
    for kind, keys in seen.items():
        documented = set(re.findall(r"`(\w+)`", rows[kind]))
        assert documented - keys <= by_phone_or_fault, kind


def test_the_readme_says_what_is_in_ten_lines():
    """The README's app is ten lines of code."""
    (snippet,) = (each for each in RUNNABLE if each.page.name == "README.md")
    lines = [line for line in textwrap.dedent(snippet.text).splitlines() if line.strip()]
    assert len(lines) <= 10
