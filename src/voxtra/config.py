"""The one reader of configuration: a YAML file, and the environment behind it.

What is in the file takes effect. Therefore a key that nothing would read is refused, one of a
feature that this version does not have included. Every fault is one `ConfigurationError` that names
the field and fits on one line.

A value in the file wins over `VOXTRA_ARI_URL`, `VOXTRA_ARI_USER`, `VOXTRA_ARI_PASSWORD` and
`VOXTRA_RECORDING_DIR`, and these win over the defaults. Text is expanded from the environment as
`voxtra.yamlfile` says.
"""

from __future__ import annotations

import difflib
import os
import re
import typing
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from voxtra import yamlfile
from voxtra.events import EventType
from voxtra.exceptions import ConfigurationError
from voxtra.model import Layout

__all__ = [
    "AsteriskConfig",
    "BackendConfig",
    "DatabaseConfig",
    "DeliveryConfig",
    "DiskConfig",
    "ListenConfig",
    "RecordingConfig",
    "RetentionConfig",
    "RouteConfig",
    "ServerConfig",
    "ServiceConfig",
    "StorageConfig",
    "TelephonyConfig",
    "VoxtraConfig",
    "WebhookConfig",
    "check_http_url",
    "nearest",
]

_LATER: Final = frozenset({"ai", "media", "routes.flow"})
"""Keys of planned features: refused in other words than a typing error."""

_FILE: Final = "file"
"""Validation context of a whole file: faults are explained at its top, with their full path."""


def nearest(name: str, known: Iterable[str], *, what: str = "Known") -> str:
    """Return the sentence that helps after a wrong name: the one meant, else all there are."""
    names = sorted(map(str, known))
    close = difflib.get_close_matches(name.lower(), names, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"{what}: {', '.join(names) if names else 'none'}"


def check_http_url(url: str) -> str:
    """Return `url`; ValueError unless it is an http or https URL with a host."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError(
            "must be an http:// or https:// URL with a host, such as http://localhost:8088"
        )
    return url


def _without_credentials(url: str) -> str:
    if urlsplit(url).username is not None:
        raise ValueError("holds a user or password; these have keys of their own")
    return url


def _url_or_empty(url: str) -> str:
    return check_http_url(url) if url else url


def _no_bool(value: object) -> object:
    # pydantic takes True for 1, so that `port: yes` would listen on port 1
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


_Seconds = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, allow_inf_nan=False)]
_Delay = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, allow_inf_nan=False)]
_Percent = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, le=100)]
_Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=0)]
_Port = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=65535)]
# Plain text to who uses it, but never in a repr.
_Secret = Annotated[str, Field(repr=False)]
# It travels in `Stasis(name,args)` and in `?app=a,b`, where a comma or a blank would end it.
_AppName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
_BaseURL = Annotated[str, AfterValidator(check_http_url), AfterValidator(_without_credentials)]
# A receiver's URL often carries a token, in its path or as user and password.
_HookURL = Annotated[str, Field(repr=False), AfterValidator(_url_or_empty)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="wrap")
    @classmethod
    def _one_error(
        cls, values: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Make a block that is built in Python fail like one in a file."""
        try:
            block = handler(values)
            block._check()
        except ValueError as error:  # a ValidationError is one
            if info.context == _FILE:
                raise
            raise _explain(error, cls) from None
        return block

    def _check(self) -> None:
        """Raise ValueError when the keys contradict each other."""


class ListenConfig(_Block):
    """Where Asterisk's outbound websocket finds us, and the credentials it brings."""

    host: str = "127.0.0.1"
    port: _Port
    path: Annotated[str, Field(pattern="^/")] = "/events"
    username: Annotated[str, Field(min_length=1)]
    password: Annotated[_Secret, Field(min_length=1)]


class AsteriskConfig(_Block):
    """How to reach one Asterisk.

    `app_name` is the Stasis application, by default the `app_name` of the whole; `recording_dir` is
    where Asterisk's recording folder is found here; `request_timeout` seconds are the
    deadline of each ARI request. In mode `outbound` Asterisk opens the websocket, to `listen`.
    """

    base_url: _BaseURL = Field(
        default_factory=lambda: os.environ.get("VOXTRA_ARI_URL") or "http://localhost:8088"
    )
    username: str = Field(default_factory=lambda: os.environ.get("VOXTRA_ARI_USER") or "asterisk")
    password: _Secret = Field(default_factory=lambda: os.environ.get("VOXTRA_ARI_PASSWORD", ""))
    app_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    recording_dir: str = Field(
        default_factory=lambda: (
            os.environ.get("VOXTRA_RECORDING_DIR") or "/var/spool/asterisk/recording"
        )
    )
    mode: Literal["inbound", "outbound"] = "inbound"
    listen: ListenConfig | None = None
    request_timeout: _Seconds = 5.0

    def _check(self) -> None:
        if self.mode == "outbound" and self.listen is None:
            raise ValueError("mode outbound needs the block 'listen' with at least a port")
        if self.mode == "inbound" and self.listen is not None:
            raise ValueError(
                "'listen' has no effect in mode inbound; write mode: outbound or remove it"
            )


class TelephonyConfig(_Block):
    """Which phone system.

    `extra` is free: settings of an adapter other than Asterisk's.
    """

    provider: Annotated[str, Field(min_length=1)] = "asterisk"
    asterisk: AsteriskConfig = Field(default_factory=AsteriskConfig)
    extra: dict[str, Any] = Field(default_factory=dict, repr=False)

    def _check(self) -> None:
        if self.provider == "asterisk" and self.extra:
            raise ValueError(
                "'extra' has no effect with provider asterisk; use the block 'asterisk'"
            )
        if self.provider != "asterisk" and "asterisk" in self.model_fields_set:
            raise ValueError(f"the block 'asterisk' has no effect with provider {self.provider}")


class RouteConfig(_Block):
    """Calls to `extension`, or from or to `number` (exact, or a prefix and `*`), go to `handler`.

    `handler` is `package.module:function`. `metadata` is merged into `call.metadata`. The number
    `*` takes every call.
    """

    extension: Annotated[str, Field(min_length=1)] | None = None
    number: Annotated[str, Field(min_length=1)] | None = None
    handler: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    name: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)

    def _check(self) -> None:
        if self.extension is None and self.number is None:
            raise ValueError("needs an extension or a number; number: '*' takes every call")


class ServerConfig(_Block):
    """The process, and the address of its REST API (`voxtra serve`).

    `debug` turns on DEBUG logging. Each key may ask `requests_per_second` on average, and
    `burst` at once.
    """

    debug: bool = False
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: _Port = 8080
    requests_per_second: _Seconds = 50.0
    burst: Annotated[_Count, Field(ge=1)] = 200


class ServiceConfig(_Block):
    """The recording service.

    `node` names this process among those that share the database, and must stay the same over a
    restart: by default it is the `app_name`. `data_dir` is where its own files are.
    `ingest_workers` recordings are brought home at a time.
    """

    node: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    data_dir: str = ""
    ingest_workers: Annotated[_Count, Field(ge=1)] = 4


class DatabaseConfig(_Block):
    """Where the rows are: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`.

    Without a `url` it is the file `voxtra.db` in the service's `data_dir`.
    """

    url: Annotated[str, Field(repr=False)] = ""


class StorageConfig(_Block):
    """Where finished recordings are: `file:///FOLDER`, `s3://BUCKET/PREFIX`, `gs://...`, `az://...`.

    Without a `url` it is the folder `blobs` in the service's `data_dir`. `options` go to the object
    store: for S3 `endpoint`, `region`, `access_key_id`, `secret_access_key`.
    """

    url: str = ""
    options: dict[str, str] = Field(default_factory=dict, repr=False)


class RetentionConfig(_Block):
    """How long recordings are kept, where no rule and no recording says otherwise.

    `days` is what a new tenant begins with, the one of the first start included; 0 keeps them for
    ever.
    """

    days: Annotated[_Count, Field(le=36_500)] = 30


class DeliveryConfig(_Block):
    """What webhooks may reach: public addresses, and the networks that `allow` lists (CIDR)."""

    allow: list[str] = Field(default_factory=list)

    @field_validator("allow")
    @classmethod
    def _networks(cls, allow: list[str]) -> list[str]:
        for network in allow:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"{error}; write for example 10.1.0.0/16") from None
        return allow


class DiskConfig(_Block):
    """How full a disk may be before less is done: three growing shares of it, in per cent."""

    watermarks: tuple[_Percent, _Percent, _Percent] = (80.0, 90.0, 95.0)

    def _check(self) -> None:
        if list(self.watermarks) != sorted(set(self.watermarks)):
            raise ValueError("watermarks: each must be greater than the one before")


class WebhookConfig(_Block):
    """Where events are posted.

    No `url` means nowhere; no `events` means all of them. Each try may take `timeout_seconds`;
    after the first there are at most `max_retries`, and the wait before them begins at
    `retry_backoff` seconds and doubles.
    """

    url: _HookURL = ""
    signing_secret: _Secret = ""
    events: list[str] = Field(default_factory=list)
    timeout_seconds: _Seconds = 10.0
    max_retries: _Count = 3
    retry_backoff: _Delay = 1.0

    @field_validator("events")
    @classmethod
    def _known_events(cls, events: list[str]) -> list[str]:
        for event in events:
            if event not in list(EventType):
                raise ValueError(f"there is no event {event!r}. {nearest(event, list(EventType))}")
        return [str(event) for event in events]


class BackendConfig(_Block):
    """Your own systems."""

    webhook: WebhookConfig = Field(default_factory=WebhookConfig)


class RecordingConfig(_Block):
    """What `record_start` does when the call does not say, and how long `stop()` waits for it.

    `max_duration` is in seconds, 24 hours at most, 0 for that. `sink` is an object,
    `package.module:name`, that is told of each recording for which no other sink was given.
    Recordings and sinks have `grace_seconds` to finish when the app stops.
    """

    layout: Layout = Layout.MONO
    max_duration: Annotated[_Count, Field(le=86_400)] = 0
    sink: Annotated[str, Field(pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")] = ""
    grace_seconds: _Seconds = 10.0


class VoxtraConfig(_Block):
    """The whole configuration of an app. `reconnect_interval` is in seconds."""

    app_name: _AppName = "voxtra"
    telephony: TelephonyConfig = Field(default_factory=TelephonyConfig)
    reconnect_interval: _Seconds = 5.0
    routes: list[RouteConfig] = Field(default_factory=list)
    server: ServerConfig = Field(default_factory=ServerConfig)
    backend: BackendConfig = Field(default_factory=BackendConfig)
    recording: RecordingConfig = Field(default_factory=RecordingConfig)
    service: ServiceConfig = Field(default_factory=ServiceConfig)
    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)
    retention: RetentionConfig = Field(default_factory=RetentionConfig)
    delivery: DeliveryConfig = Field(default_factory=DeliveryConfig)
    disk: DiskConfig = Field(default_factory=DiskConfig)

    def _check(self) -> None:
        if not self.telephony.asterisk.app_name:
            # copies: the blocks may be the caller's, who builds a second app of them
            asterisk, telephony = self.telephony.asterisk.model_copy(), self.telephony.model_copy()
            object.__setattr__(asterisk, "app_name", self.app_name)
            object.__setattr__(telephony, "asterisk", asterisk)
            object.__setattr__(self, "telephony", telephony)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file. Raises `ConfigurationError`, also when it is missing, empty or no YAML."""
        try:
            return cls.model_validate(yamlfile.read(Path(path)), context=_FILE)
        except ValidationError as error:
            raise _explain(error, cls) from None

    def to_yaml(self, path: str | os.PathLike[str]) -> None:
        """Write what was set, for `from_yaml` to read, passwords included: mode 0600.

        What came from `${NAME}` is written out; what came from `VOXTRA_*` is left to these.
        """
        yamlfile.write(Path(path), self.model_dump(exclude_unset=True))


def _explain(error: ValueError, model: type[BaseModel]) -> ConfigurationError:
    """Turn the first fault into our one error; unknown keys first, they often cause others."""
    if not isinstance(error, ValidationError):
        return ConfigurationError(str(error))
    fault = min(error.errors(include_url=False), key=lambda it: it["type"] != "extra_forbidden")
    field = ".".join(map(str, fault["loc"]))
    problem, fix = _problem(fault["type"], fault["msg"], fault["input"], fault.get("ctx", {}))
    if fault["type"] == "extra_forbidden":
        *above, key = fault["loc"]
        if ".".join(part for part in fault["loc"] if isinstance(part, str)) in _LATER:
            problem, fix = "is not supported by this version", "Remove it"
        else:
            fix = nearest(str(key), _model_at(model, above).model_fields, what="Known keys")
    return ConfigurationError(problem, field=field, fix=fix)


def _problem(kind: str, text: str, value: object, context: dict[str, Any]) -> tuple[str, str]:
    """Say in a YAML author's words what pydantic found. No value is quoted: some are secret."""
    given = yamlfile.kind_of(value)
    if kind == "extra_forbidden":
        return "unknown key", ""
    if kind == "missing":
        return "is missing", ""
    if kind == "value_error":
        return str(context["error"]), ""
    if value is None:
        return "has no value", "Give it one or remove the line"
    if kind == "string_type":
        return f"must be text, but is {given}", "Put it in quotes"
    if kind in ("model_type", "dict_type"):
        return f"must be a block of keys, not {given}", ""
    if kind == "list_type":
        return f"must be a list, not {given}", "Begin each item with '- '"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}", ""
    text = text.partition(", unable to parse")[0]
    return text.replace("Input should be", "must be").replace("String should", "should"), ""


def _model_at(model: type[BaseModel], path: Iterable[str | int]) -> type[BaseModel]:
    """Return the block that a path leads to."""
    for part in path:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            inner = (annotation, *typing.get_args(annotation))
            model = next(it for it in inner if isinstance(it, type) and issubclass(it, BaseModel))
    return model
