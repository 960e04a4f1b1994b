"""The manifest of an export: what it says, and names that every system takes."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.ids import new_id
from voxtra.service.manifest import Manifest, Result, file_name, spreadsheet_safe

AT = datetime(2026, 8, 22, 14, 3, 7, tzinfo=UTC)


def row(**columns: Any) -> Any:
    """Return a recording's row."""
    return SimpleNamespace(
        **{
            "id": "0198a0000000700080009f3c21aa0001",
            "format": "wav",
            "size": 9,
            "sha256": "ab",
            "duration_ms": 60_000,
            "sample_rate": 8000,
            "channels": 1,
            "call_id": "call-1",
            "conference_id": "",
            "direction": "inbound",
            "caller": "+4155550100",
            "callee": "200",
            "queue": "sales",
            "agent": "",
            "tags": ["a", "b"],
            "note": "",
            "requested_at": AT,
            "started_at": AT,
            "ended_at": AT,
            "end_reason": "hangup",
            "held": False,
            "blob_key": "recordings/t/2026/08/22/x.wav",
            **columns,
        }
    )


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({}, "2026-08-22_14.03.07Z_inbound_4155550100_to_200_21aa0001.wav"),
        ({"callee": ""}, "2026-08-22_14.03.07Z_inbound_4155550100_21aa0001.wav"),
        ({"direction": "", "caller": ""}, "2026-08-22_14.03.07Z_to_200_21aa0001.wav"),
        (
            {"started_at": None, "caller": "", "callee": ""},
            "2026-08-22_14.03.07Z_inbound_21aa0001.wav",
        ),
        ({"blob_key": "x/y.ulaw"}, "2026-08-22_14.03.07Z_inbound_4155550100_to_200_21aa0001.ulaw"),
        ({"caller": "Zoë <../..>"}, "2026-08-22_14.03.07Z_inbound_Zoë_to_200_21aa0001.wav"),
        ({"caller": "9" * 300}, f"2026-08-22_14.03.07Z_inbound_{'9' * 40}_to_200_21aa0001.wav"),
    ],
)
def test_a_file_is_called_by_time_and_parties(columns: dict[str, Any], name: str):
    """What is empty is left out; the end of the id leads back to the recording."""
    assert file_name(row(**columns)) == name


@given(caller=st.text(max_size=60), callee=st.text(max_size=60))
def test_no_party_breaks_a_name(caller: str, callee: str):
    """Whatever a PBX calls them, the name is one that all file systems take."""
    name = file_name(row(caller=caller, callee=callee))
    assert not re.search(r"[\\/:*?\"<>|\x00-\x20\x7f]", name)
    assert len(name) <= 140
    assert not name.startswith(".")
    assert name.endswith("_21aa0001.wav")


def test_two_recordings_never_have_one_name():
    """Where the end of the id is the same, the whole id is in the name, in whichever case."""
    manifest = Manifest()
    ids = [f"{n:024}21aa0001" for n in range(3)]
    names = [manifest.name_for(row(id=each, caller=c)) for each, c in zip(ids, "aAa", strict=True)]
    assert len({name.lower() for name in names}) == 3
    assert ids[1] in names[1]


@given(st.text())
def test_no_cell_is_a_formula(text: str):
    """What a spreadsheet would compute gets an apostrophe; nothing else is touched."""
    safe = spreadsheet_safe(text)
    assert safe in (text, f"'{text}")
    assert not safe.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    if text.isalnum():
        assert safe == text


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "caller": st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
                "note": st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
                "tags": st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"))),
            }
        ),
        max_size=4,
    )
)
def test_both_manifests_say_the_same(entries: list[dict[str, Any]]):
    """JSON has the values as they are, CSV as text that can be read back."""
    manifest = Manifest()
    ids = [new_id() for _ in entries]
    for recording_id, columns in zip(ids, entries, strict=True):
        manifest.add(recording_id, row(**columns), Result.OK, file="f.wav", cause="")
    manifest.add("gone", None, Result.NOT_FOUND, file="", cause="there is none")
    read = msgspec.json.decode(manifest.as_json({"export_id": "e", "created_at": AT}))
    assert (read["export_id"], read["created_at"]) == ("e", "2026-08-22T14:03:07Z")
    lines = list(csv.DictReader(io.StringIO(manifest.as_csv().decode(), newline="")))
    assert [entry["recording_id"] for entry in read["recordings"]] == [*ids, "gone"]
    assert [line["recording_id"] for line in lines] == [*ids, "gone"]
    for entry, line, columns in zip(read["recordings"], lines, entries, strict=False):
        assert {name: entry[name] for name in columns} == columns
        assert line["note"] == spreadsheet_safe(columns["note"])
        assert line["tags"] == spreadsheet_safe("; ".join(columns["tags"]))
        assert (line["size"], line["held"], line["ended_at"]) == (
            "9",
            "false",
            "2026-08-22T14:03:07Z",
        )
    assert (lines[-1]["result"], lines[-1]["size"]) == ("not_found", "")
    assert read["recordings"][-1]["size"] is None


def test_an_empty_manifest_is_valid():
    """It is JSON with no recordings, and CSV with names only."""
    manifest = Manifest()
    assert msgspec.json.decode(manifest.as_json({"export_id": "e"})) == {
        "export_id": "e",
        "recordings": [],
    }
    assert manifest.as_csv().startswith(b"recording_id,result,cause,file,format")
