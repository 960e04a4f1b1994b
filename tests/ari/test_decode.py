"""From frames to events."""

from __future__ import annotations

import json
import logging

from hypothesis import given
from hypothesis import strategies as st

from voxtra.ari.decode import UnknownEvent, decode
from voxtra.ari.schema import EVENT_TYPES, Event

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
resources = st.dictionaries(st.sampled_from(["id", "name", "state", "target_uri"]), json_values)
events = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(EVENT_TYPES)) | json_values},
    optional=dict.fromkeys(
        ("channel", "bridge", "playback", "recording", "endpoint"), resources | json_values
    )
    | dict.fromkeys(("args", "timestamp", "application", "cause"), json_values),
)


@given(st.binary() | st.text())
def test_no_frame_breaks_the_reader(frame):
    """Whatever a frame holds, decoding it gives an event."""
    assert isinstance(decode(frame), Event)


@given(events)
def test_no_event_breaks_the_reader(event):
    """Whatever the fields of an event hold, it decodes, and its type and keys can be asked for."""
    decoded = decode(json.dumps(event))
    assert isinstance(decoded.type, str)
    assert all(isinstance(key, str) for key in decoded.keys())  # noqa: SIM118  # no dict
    if isinstance(decoded, UnknownEvent):
        assert decoded.raw == json.loads(json.dumps(event))


def test_an_event_newer_than_the_schema_is_kept_whole(caplog):
    """An unknown type keeps all it carries and its keys; the log says so once per type."""
    frame = '{"type":"ChannelTeleported","channel":{"id":"c"},"application":"a","to":"Mars"}'
    for _ in range(3):
        event = decode(frame)
    assert isinstance(event, UnknownEvent)
    assert (event.type, event.application, event.raw["to"]) == ("ChannelTeleported", "a", "Mars")
    assert event.keys() == ("c",)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_known_event_with_wrong_fields_is_reported_each_time(caplog):
    """A known type that does not fit its docs is handed on untyped, and is an error in the log."""
    for _ in range(2):
        event = decode('{"type":"RecordingFinished","recording":{"name":7,"format":"wav"}}')
    assert isinstance(event, UnknownEvent)
    assert "recording.name" in event.problem
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "RecordingFinished" in caplog.text


def test_garbage_is_reported_without_its_content(caplog):
    """A frame that is no JSON object gives an empty event and an error in the log."""
    for frame in (b"\xff\xfe", "[1]", "secret"):
        event = decode(frame)
        assert isinstance(event, UnknownEvent)
        assert (event.raw, event.type, event.keys()) == ({}, "", ())
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert "secret" not in caplog.text
