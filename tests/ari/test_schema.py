"""The generated types: made from Asterisk's docs, lenient with what Asterisk really sends."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from voxtra.ari import schema
from voxtra.ari.decode import decode
from voxtra.lab.install import ensure

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "script" / "generate-ari-schema"

KEYED = {
    schema.Channel: ("id",),
    schema.Bridge: ("id",),
    schema.Playback: ("id", "target_uri"),
    schema.LiveRecording: ("name", "target_uri"),
}


def run_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the generator as a user does."""
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.asterisk
def test_the_schema_is_what_the_script_makes_of_asterisks_docs():
    """schema.py is reproducible from the api-docs that Asterisk ships."""
    docs = hashlib.sha256()
    for path in sorted((ensure().data / "rest-api").glob("*.json")):
        docs.update(path.read_bytes())
    if docs.hexdigest()[:16] not in (schema.__doc__ or ""):
        pytest.skip("this Asterisk's docs are not those that schema.py was made from")
    done = run_script("--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_script_refuses_a_folder_without_the_docs(tmp_path):
    """A wrong folder is named, and nothing is written."""
    before = Path(schema.__file__).read_bytes()
    done = run_script(tmp_path, "--asterisk", "22.10.1")
    assert done.returncode == 1
    assert f"{tmp_path} is no rest-api folder" in done.stderr
    assert Path(schema.__file__).read_bytes() == before


def _filled(kind: Any, ids: Iterator[str], found: list[str]) -> Any:
    """Build the JSON of a type with every field given; `found` collects the ids put into it."""
    if isinstance(kind, types.UnionType):
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    if typing.get_origin(kind) is list:
        return [_filled(typing.get_args(kind)[0], ids, found)]
    if typing.get_origin(kind) is dict:
        return {}
    if kind in (str, int, float, bool, Any):
        return {str: "text", int: 7, float: 0.5, bool: True, Any: {}}[kind]
    values = {
        field.encode_name: _filled(field.type, ids, found) for field in msgspec.structs.fields(kind)
    }
    for name in KEYED.get(kind, ()):
        found.append(next(ids))
        values[name] = f"channel:{found[-1]}" if name == "target_uri" else found[-1]
    return values


@pytest.mark.parametrize("name", sorted(schema.EVENT_TYPES))
def test_every_event_is_typed_and_knows_its_keys(name):
    """An event with all documented fields decodes to its class and is known by every id in it."""
    found: list[str] = []
    values = _filled(getattr(schema, name), (f"id-{n}" for n in itertools.count()), found)
    event = decode(msgspec.json.encode({"type": name, **values}))
    assert type(event) is getattr(schema, name)
    assert event.type == name
    assert sorted(event.keys()) == sorted(found)


def test_a_missing_detail_is_empty_and_a_missing_option_is_none():
    """What the docs require but Asterisk leaves out does not make an event unreadable."""
    event = decode('{"type":"StasisStart","channel":{"id":"c"}}')
    assert isinstance(event, schema.StasisStart)
    assert event.channel.caller.number == ""
    assert event.channel.dialplan.priority == 0
    assert event.args == []
    assert event.replace_channel is None


def test_unknown_values_survive():
    """A state that the docs do not list is taken as it is, unlisted fields are ignored."""
    event = decode('{"type":"ChannelHold","channel":{"id":"c","state":"Astral","aura":1},"moon":2}')
    assert isinstance(event, schema.ChannelHold)
    assert event.channel.state == "Astral"


def test_a_keyword_is_renamed():
    """A wire name that Python reserves has an underscore."""
    event = decode('{"type":"TextMessageReceived","message":{"from":"a","to":"b"}}')
    assert isinstance(event, schema.TextMessageReceived)
    assert event.message.from_ == "a"


def test_an_event_is_delivered_by_what_is_in_it_only():
    """Optional objects that are absent give no key."""
    event = decode('{"type":"Dial","peer":{"id":"p"},"dialstatus":""}')
    assert event.keys() == ("p",)
    event = decode('{"type":"EndpointStateChange","endpoint":{"technology":"PJSIP"}}')
    assert event.keys() == ()
