"""The public names and signatures: an app written from the documentation must go on running."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

import pytest

import voxtra
from voxtra import (
    ARIClient,
    BackendWebhook,
    CallSession,
    CompositeSink,
    EventType,
    LocalFileSink,
    RecordingMetadata,
    RecordingSink,
    VoxtraApp,
    VoxtraEvent,
    WebhookSink,
)
from voxtra.bridge import Bridge
from voxtra.config import VoxtraConfig, WebhookConfig
from voxtra.telephony.asterisk import AsteriskAdapter
from voxtra.telephony.base import BaseTelephonyAdapter

POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
KEYWORD = inspect.Parameter.KEYWORD_ONLY
REQUIRED = inspect.Parameter.empty


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """Return the parameters of a function as (name, kind, default), `self` and `cls` left out."""
    return [
        (name, parameter.kind, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("self", "cls")
    ]


def test_the_root_exports_what_is_documented_and_nothing_else():
    """`from voxtra import *` gives these names."""
    assert sorted(voxtra.__all__) == [
        "ARIClient",
        "BackendWebhook",
        "CallDirection",
        "CallSession",
        "CallState",
        "CompositeSink",
        "EventType",
        "LocalFileSink",
        "RecordingMetadata",
        "RecordingSink",
        "Router",
        "VoxtraApp",
        "VoxtraEvent",
        "WebhookSink",
        "__version__",
    ]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            "voxtra.recording",
            "CompositeSink LocalFileSink RecordingMetadata RecordingSink WebhookSink",
        ),
        ("voxtra.webhooks", "BackendWebhook"),
        ("voxtra.config", "VoxtraConfig WebhookConfig"),
        ("voxtra.router", "Router"),
        ("voxtra.registry", "registry"),
        ("voxtra.events", "EventType VoxtraEvent"),
        ("voxtra.exceptions", "VoxtraError CallEnded DialFailed RecordingActive"),
        ("voxtra.telephony.base", "BaseTelephonyAdapter"),
        ("voxtra.telephony.asterisk", "AsteriskAdapter"),
        ("voxtra.ari", "ARIClient"),
    ],
)
def test_submodules_export_the_documented_names(module, names):
    """Each name is where the documentation says, and is meant to be there."""
    exported = importlib.import_module(module).__all__
    assert set(names.split()) <= set(exported)


def test_all_says_what_there_is():
    """Every module's `__all__` names things that it has."""
    for name in (
        "voxtra",
        "voxtra.recording",
        "voxtra.events",
        "voxtra.model",
        "voxtra.exceptions",
    ):
        module = importlib.import_module(name)
        assert [each for each in module.__all__ if not hasattr(module, each)] == []


def test_the_apps_constructor():
    """Three positional arguments, the documented keywords in order; ours have a default too."""
    given = parameters(VoxtraApp)
    assert given[:3] == [
        ("ari_url", POSITIONAL, ""),
        ("ari_user", POSITIONAL, ""),
        ("ari_password", POSITIONAL, ""),
    ]
    assert given[3:14] == [
        ("app_name", KEYWORD, "voxtra"),
        ("reconnect_interval", KEYWORD, 5.0),
        ("debug", KEYWORD, False),
        ("router", KEYWORD, None),
        ("telephony", KEYWORD, None),
        ("stt", KEYWORD, None),
        ("llm", KEYWORD, None),
        ("tts", KEYWORD, None),
        ("vad", KEYWORD, None),
        ("webhook", KEYWORD, None),
        ("recording_sink", KEYWORD, None),
    ]
    assert all(kind is KEYWORD and default is not REQUIRED for _, kind, default in given[14:])


def test_the_other_ways_to_build_an_app():
    """`with_asterisk`, `from_config` and `from_yaml` take what they are documented to take."""
    assert parameters(VoxtraApp.with_asterisk)[:4] == [
        ("ari_url", KEYWORD, REQUIRED),
        ("ari_user", KEYWORD, REQUIRED),
        ("ari_password", KEYWORD, REQUIRED),
        ("app_name", KEYWORD, "voxtra"),
    ]
    assert parameters(VoxtraApp.from_config)[0] == ("config", POSITIONAL, REQUIRED)
    assert parameters(VoxtraApp.from_yaml) == [("path", POSITIONAL, REQUIRED)]
    assert parameters(VoxtraConfig.from_yaml) == [("path", POSITIONAL, REQUIRED)]


def test_an_apps_verbs():
    """Routes, hooks, outbound calls and the life of an app."""
    assert parameters(VoxtraApp.route) == [
        ("extension", KEYWORD, None),
        ("number", KEYWORD, None),
        ("name", KEYWORD, ""),
        ("metadata", KEYWORD, None),
    ]
    assert parameters(VoxtraApp.originate) == [
        ("endpoint", POSITIONAL, REQUIRED),
        ("caller_id", KEYWORD, ""),
        ("timeout", KEYWORD, 30),
        ("variables", KEYWORD, None),
    ]
    assert VoxtraApp.default_route is VoxtraApp.default
    for name in ("start", "stop", "run_async"):
        assert inspect.iscoroutinefunction(getattr(VoxtraApp, name))
        assert parameters(getattr(VoxtraApp, name)) == []
    assert parameters(VoxtraApp.run) == []
    assert {("context", KEYWORD, None), ("extension", KEYWORD, None)} <= set(
        parameters(ARIClient.originate)
    )


@pytest.mark.parametrize("holder", [CallSession, Bridge])
def test_record_start(holder):
    """A call and a bridge are recorded by the same verbs; our options are keywords with a
    default.
    """
    given = parameters(holder.record_start)
    assert given[:3] == [
        ("name", POSITIONAL, ""),
        ("fmt", POSITIONAL, "wav"),
        ("sink", KEYWORD, None),
    ]
    assert all(kind is KEYWORD and default is not REQUIRED for _, kind, default in given[3:])
    for verb in ("stop", "pause", "resume", "mute", "unmute", "cancel"):
        assert parameters(getattr(holder, f"record_{verb}")) == []


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("answer", []),
        ("hangup", [("reason", POSITIONAL, "normal")]),
        ("hold", [("moh_class", POSITIONAL, "default")]),
        ("unhold", []),
        (
            "play_file",
            [("name", POSITIONAL, REQUIRED), ("lang", POSITIONAL, ""), ("wait", KEYWORD, True)],
        ),
        ("play_url", [("url", POSITIONAL, REQUIRED), ("wait", KEYWORD, True)]),
        ("say", [("text", POSITIONAL, REQUIRED), ("interruptible", KEYWORD, True)]),
        ("listen", [("timeout", KEYWORD, 10.0)]),
        ("listen_dtmf", [("max_digits", POSITIONAL, 1), ("timeout", POSITIONAL, 10.0)]),
        ("send_dtmf", [("digits", POSITIONAL, REQUIRED)]),
        ("bridge_with", [("other", POSITIONAL, REQUIRED)]),
    ],
)
def test_a_calls_verbs(verb, expected):
    """Each verb is a coroutine with the documented arguments."""
    function = getattr(CallSession, verb)
    assert inspect.iscoroutinefunction(function)
    assert parameters(function) == expected


def test_a_calls_transfers():
    """`transfer_to` and `transfer_to_queue` begin as documented; what follows has a default."""
    assert parameters(CallSession.transfer_to)[0] == ("target", POSITIONAL, REQUIRED)
    assert parameters(CallSession.transfer_to_queue)[:2] == [
        ("queue", POSITIONAL, REQUIRED),
        ("metadata", POSITIONAL, None),
    ]
    for function in (CallSession.transfer_to, CallSession.transfer_to_queue):
        assert all(kind is KEYWORD for _, kind, default in parameters(function)[2:])


def test_recording_metadata_and_sinks():
    """What a sink is told, and how the built-in sinks are made."""
    assert [field.name for field in dataclasses.fields(RecordingMetadata)] == [
        "session_id",
        "name",
        "file_path",
        "duration_seconds",
        "format",
        "extra",
    ]
    plain = RecordingMetadata("call", "name")
    assert (plain.file_path, plain.duration_seconds, plain.format, plain.extra) == (
        "",
        None,
        "wav",
        {},
    )
    assert parameters(WebhookSink)[:3] == [
        ("url", POSITIONAL, REQUIRED),
        ("signing_secret", KEYWORD, ""),
        ("timeout_seconds", KEYWORD, 10.0),
    ]
    assert inspect.signature(CompositeSink).parameters["sinks"].kind is (
        inspect.Parameter.VAR_POSITIONAL
    )
    for sink in (LocalFileSink, WebhookSink, CompositeSink):
        assert issubclass(sink, RecordingSink)


def test_webhooks_and_events():
    """The webhook's settings and their defaults, an event's fields, every event's name."""
    defaults = WebhookConfig()
    assert dict(defaults) == {
        "url": "",
        "signing_secret": "",
        "events": [],
        "timeout_seconds": 10.0,
        "max_retries": 3,
        "retry_backoff": 1.0,
    }
    assert parameters(BackendWebhook)[0] == ("config", POSITIONAL, REQUIRED)
    assert {"id", "type", "session_id", "timestamp", "data"} <= set(dir(VoxtraEvent))
    assert sorted(EventType) == [
        "agent.response",
        "barge_in",
        "call.answered",
        "call.ended",
        "call.failed",
        "call.ringing",
        "call.started",
        "call.transferred",
        "conference.ended",
        "conference.joined",
        "conference.left",
        "conference.started",
        "disk.low",
        "dtmf.received",
        "error",
        "export.available",
        "export.failed",
        "recording.available",
        "recording.deleted",
        "recording.failed",
        "recording.finished",
        "recording.held",
        "recording.paused",
        "recording.released",
        "recording.resumed",
        "recording.started",
        "user.transcript",
        "webhook.disabled",
    ]


def test_the_seam():
    """The Asterisk adapter is a telephony adapter, made of URL, user and password."""
    assert issubclass(AsteriskAdapter, BaseTelephonyAdapter)
    assert [name for name, _, _ in parameters(AsteriskAdapter)[:3]] == [
        "ari_url",
        "ari_user",
        "ari_password",
    ]
    assert {name for name in dir(BaseTelephonyAdapter) if not name.startswith("_")} >= {
        "connect",
        "disconnect",
        "listen",
        "answer_call",
        "hangup_call",
        "originate",
    }
