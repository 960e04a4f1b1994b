"""Handlers named in a configuration file: `package.module:function`."""

from __future__ import annotations

import inspect
from importlib import import_module

from voxtra.exceptions import ConfigurationError
from voxtra.router import Handler

__all__ = ["load_handler"]


def load_handler(path: str, field: str) -> Handler:
    """Import a handler; `field` is the setting that names it. Raises `ConfigurationError`."""
    module_name, _, name = path.partition(":")
    try:
        handler: Handler = getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{path!r} can't be imported: {error}",
            field=field,
            fix="Write package.module:function of a module that Python finds",
        ) from error
    if not inspect.iscoroutinefunction(handler):
        raise ConfigurationError(f"{path!r} is no async function", field=field, fix="Use async def")
    return handler
