"""Which store a URL stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError, UnknownConfigurationKeyError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from voxtra.blobs.base import BlobStore
from voxtra.blobs.cloud import CloudStore
from voxtra.blobs.local import LocalStore
from voxtra.exceptions import ConfigurationError

__all__ = ["open_store"]

_CLOUDS: Final[dict[str, Callable[..., ObjectStore]]] = {
    "s3": S3Store,
    "gs": GCSStore,
    "az": AzureStore,
}

_ALWAYS: Final[dict[str, dict[str, str]]] = {
    # We remove one by one, and not every store that speaks S3 can remove many at once.
    "s3": {"disable_bulk_delete": "true"},
}

TIMEOUT: Final = 60.0
"""Seconds for one request: four parts at a time get through in that at 3 Mbit/s."""

RETRIES: Final = 3

_WRITE: Final = "Write file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER"


def open_store(url: str, options: Mapping[str, str] | None = None) -> BlobStore:
    """Return the store of a URL: `file:///FOLDER`, or `s3://`, `gs://`, `az://` with bucket and
    prefix.

    Of the options, `allow_http` ("true" for an endpoint without TLS), `timeout` (seconds that one
    request may take) and `retries` (of one request) are for all object stores; the others are the
    store's own, by the names that obstore gives them: for S3 `endpoint`, `region`,
    `access_key_id`, `secret_access_key`, `virtual_hosted_style_request`. Nothing is asked of the
    store yet. Raises `ConfigurationError`.
    """
    parts = urlsplit(url)
    given = dict(options or {})
    if parts.scheme == "file":
        return _folder(parts.netloc, unquote(parts.path), given)
    make = _CLOUDS.get(parts.scheme)
    if make is None:
        raise ConfigurationError(f"{parts.scheme or url!r} is no store", field=_URL, fix=_WRITE)
    if "@" in parts.netloc or parts.query:
        problem = "has credentials or a query in it"
        raise ConfigurationError(problem, field=_URL, fix="Give them as storage.options")
    if not parts.netloc:
        raise ConfigurationError("names no bucket", field=_URL, fix=_WRITE)
    timeout = _number(given, "timeout", TIMEOUT)
    retries = int(_number(given, "retries", RETRIES))
    client = {
        "allow_http": _allow_http(given),
        "timeout": timedelta(seconds=timeout),
        "connect_timeout": timedelta(seconds=min(timeout, 5.0)),
    }
    patience = {
        "max_retries": retries,
        "retry_timeout": timedelta(seconds=timeout * (retries + 1)),
    }
    try:
        store = make(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            config=_ALWAYS.get(parts.scheme, {}) | given,
            client_options=client,
            retry_config=patience,
        )
    except UnknownConfigurationKeyError as error:
        name = _first_line(error, given).partition("'")[2].partition("'")[0]
        problem = f"there is no such option for {parts.scheme}://"
        raise ConfigurationError(problem, field=f"{_OPTIONS}.{name}") from None
    except (BaseError, ValueError) as error:
        raise ConfigurationError(_first_line(error, given), field=_OPTIONS) from None
    return CloudStore(store)


_URL: Final = "storage.url"
_OPTIONS: Final = "storage.options"


def _folder(host: str, path: str, options: Mapping[str, str]) -> LocalStore:
    if host not in ("", "localhost") or not path.startswith("/"):
        problem = "a folder is given by its whole path"
        raise ConfigurationError(problem, field=_URL, fix="Write file:///var/lib/voxtra/blobs")
    if options:
        raise ConfigurationError("a folder takes no options", field=_OPTIONS, fix="Leave them out")
    return LocalStore(Path(path))


def _number(options: dict[str, str], name: str, usual: float) -> float:
    text = options.pop(name, None)
    if text is None:
        return usual
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600 or (name == "timeout" and value == 0):
        raise ConfigurationError(
            f"{text!r} is no number that can be used", field=f"{_OPTIONS}.{name}", fix="Write 30"
        )
    return value


def _allow_http(options: dict[str, str]) -> bool:
    text = options.pop("allow_http", "false").lower()
    if text not in ("true", "false"):
        field = f"{_OPTIONS}.allow_http"
        raise ConfigurationError(f"{text!r} is neither true nor false", field=field)
    endpoint = options.get("endpoint", "https://")
    field = f"{_OPTIONS}.endpoint"
    if not endpoint.startswith(("https://", "http://")):
        raise ConfigurationError("is no URL", field=field, fix="Write https://host:port")
    if endpoint.startswith("http://") and text == "false":
        fix = 'Use https, or set allow_http to "true" where the network is yours'
        raise ConfigurationError("would send audio and keys in the clear", field=field, fix=fix)
    return text == "true"


def _first_line(error: Exception, options: Mapping[str, Any]) -> str:
    """Return what an error says, without any value of the options: some are secrets."""
    text = str(error).partition("\n")[0]
    for value in options.values():
        if len(value) > 3:
            text = text.replace(value, "...")
    return text
