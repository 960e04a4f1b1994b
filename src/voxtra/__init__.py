"""Voxtra: call framework and call-recording platform for Asterisk."""

from __future__ import annotations

from voxtra.app import VoxtraApp
from voxtra.ari import ARIClient
from voxtra.events import EventType, VoxtraEvent
from voxtra.model import CallDirection, CallState
from voxtra.recording import (
    CompositeSink,
    LocalFileSink,
    RecordingMetadata,
    RecordingSink,
    WebhookSink,
)
from voxtra.router import Router
from voxtra.session import CallSession
from voxtra.version import __version__
from voxtra.webhooks import BackendWebhook

__all__ = [
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
