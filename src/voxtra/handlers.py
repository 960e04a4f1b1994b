"""Handlers and sinks named in a configuration file: `package.module:name`."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from voxtra.exceptions import ConfigurationError
from voxtra.recording import RecordingSink
from voxtra.router import Handler

__all__ = ["load_handler", "load_sink"]


def load_handler(path: str, field: str) -> Handler:
    """Import a handler; `field` is the setting that names it. Raises `ConfigurationError`."""
    handler: Handler = _load(path, field)
    if not inspect.iscoroutinefunction(handler):
        raise ConfigurationError(f"{path!r} is no async function", field=field, fix="Use async def")
    return handler


def load_sink(path: str, field: str) -> RecordingSink:
    """Import a sink, an object with `on_recording_complete`; `field` is the setting that names it.

    Raises `ConfigurationError`.
    """
    sink: RecordingSink = _load(path, field)
    if inspect.isclass(sink) or not callable(getattr(sink, "on_recording_complete", None)):
        raise ConfigurationError(
            f"{path!r} is no object with on_recording_complete",
            field=field,
            fix="Name an object, for example `told = WebhookSink(...)` in that module",
        )
    return sink


def _load(path: str, field: str) -> Any:
    module_name, _, name = path.partition(":")
    try:
        return getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{path!r} can't be imported: {error}",
            field=field,
            fix="Write package.module:name of a module that Python finds",
        ) from error
