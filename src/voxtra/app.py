"""VoxtraApp: builds the graph of objects, routes calls to handlers, and begins and ends in good
order.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import warnings
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar, overload

from voxtra.aftermath import Aftermath
from voxtra.ari import ARIClient
from voxtra.catalog import MemoryRecordingStore, RecordingStore
from voxtra.conference import Conference
from voxtra.config import VoxtraConfig
from voxtra.events import VoxtraEvent
from voxtra.exceptions import ConfigurationError
from voxtra.handlers import load_handler, load_sink
from voxtra.model import Layout
from voxtra.names import prefix_of
from voxtra.recorder import Recorder
from voxtra.recording import RecordingSink
from voxtra.registry import registry
from voxtra.router import Router
from voxtra.session import CallSession
from voxtra.spool import DEFAULT_FOLDER, Spool
from voxtra.switchboard import Switchboard
from voxtra.telephony.base import BaseTelephonyAdapter
from voxtra.webhooks import BackendWebhook

__all__ = ["VoxtraApp"]

log = logging.getLogger(__name__)

Hook = Callable[[], Awaitable[object]]
H = TypeVar("H", bound=Callable[..., Any])

GRACE: Final = 10.0
"""Seconds that `stop()` gives to calls, recordings and sinks together."""

STEP_DEADLINE: Final = 10.0
"""Seconds for each step of the shutdown besides calls and recordings; a hook is a step."""

CANCEL_GRACE: Final = 1.0
"""Seconds for a startup hook to let go when the app is stopped."""


class VoxtraApp:
    """A phone application: connects to the PBX, runs a handler for each call, records, and tells
    your systems.

    Empty `ari_*` arguments fall back to the environment: `VOXTRA_ARI_URL` (http://localhost:8088),
    `VOXTRA_ARI_USER` (asterisk), `VOXTRA_ARI_PASSWORD`; they are not used when `telephony` is
    given. `reconnect_interval` is in seconds. `recording_dir` is Asterisk's recording folder as
    this process sees it (else `VOXTRA_RECORDING_DIR`, else Asterisk's default); `download_dir`
    takes files that have to be fetched from a PBX whose folder is out of reach. `recording_layout`
    and `recording_max_duration` (seconds, 0: 24 hours) are the defaults of `record_start`.
    `shutdown_grace` (seconds) is what `stop()` gives to calls, recordings and sinks.
    """

    def __init__(
        self,
        ari_url: str = "",
        ari_user: str = "",
        ari_password: str = "",
        *,
        app_name: str = "voxtra",
        reconnect_interval: float = 5.0,
        debug: bool = False,
        router: Router | None = None,
        telephony: BaseTelephonyAdapter | None = None,
        stt: Any = None,
        llm: Any = None,
        tts: Any = None,
        vad: Any = None,
        webhook: BackendWebhook | None = None,
        recording_sink: RecordingSink | None = None,
        recording_store: RecordingStore | None = None,
        recording_aftermath: Aftermath | None = None,
        recording_dir: str | os.PathLike[str] = "",
        download_dir: str | os.PathLike[str] = "",
        recording_layout: Layout | str = Layout.MONO,
        recording_max_duration: int = 0,
        shutdown_grace: float = GRACE,
    ) -> None:
        self._app_name = app_name
        self._ari = (ari_url, ari_user, ari_password)
        self._reconnect_interval = reconnect_interval
        self._router = router if router is not None else Router()
        self._telephony = telephony
        self.debug = debug
        self.stt, self.llm, self.tts, self.vad = stt, llm, tts, vad
        self._webhook = webhook
        self._recording_sink = recording_sink
        self._recording_store = recording_store or MemoryRecordingStore()
        self._recording_aftermath = recording_aftermath
        self._listeners: list[Callable[[VoxtraEvent], None]] = []
        self._spool = Spool(_recording_dir(recording_dir), _download_dir(download_dir))
        self._recording_layout = recording_layout
        self._recording_max_duration = recording_max_duration
        self._grace = shutdown_grace
        self._startup: list[Hook] = []
        self._shutdown: list[Hook] = []
        self._recorder: Recorder | None = None
        self._calls: Switchboard | None = None
        self._connected = False
        self._running = False
        self._serving = asyncio.Event()
        self._stop: asyncio.Event | None = None
        self._stopped: asyncio.Event | None = None

    # -- other ways to build one

    @classmethod
    def with_asterisk(
        cls,
        *,
        ari_url: str,
        ari_user: str,
        ari_password: str,
        app_name: str = "voxtra",
        reconnect_interval: float = 5.0,
        **options: Any,
    ) -> Self:
        """Build an app on an Asterisk adapter; `options` go to the constructor."""
        adapter = registry.resolve_telephony("asterisk")(
            ari_url,
            ari_user,
            ari_password,
            app_name=app_name,
            reconnect_interval=reconnect_interval,
        )
        return cls(
            app_name=app_name, reconnect_interval=reconnect_interval, telephony=adapter, **options
        )

    @classmethod
    def from_config(cls, config: VoxtraConfig, **options: Any) -> Self:
        """Build an app from a configuration: telephony, routes, webhook and recording defaults.

        `options` go to the constructor; AI providers are passed there. Raises `ConfigurationError`.
        """
        provider: Any = registry.resolve_telephony(config.telephony.provider)
        adapter = provider.from_config(
            config.telephony, reconnect_interval=config.reconnect_interval
        )
        webhook = config.backend.webhook
        if webhook.url and "webhook" not in options:
            options["webhook"] = BackendWebhook(webhook)
        if config.recording.sink and "recording_sink" not in options:
            options["recording_sink"] = load_sink(config.recording.sink, "recording.sink")
        app = cls(
            app_name=config.telephony.asterisk.app_name or config.app_name,
            reconnect_interval=config.reconnect_interval,
            debug=config.server.debug,
            telephony=adapter,
            recording_dir=config.telephony.asterisk.recording_dir,
            recording_layout=config.recording.layout,
            recording_max_duration=config.recording.max_duration,
            shutdown_grace=config.recording.grace_seconds,
            **options,
        )
        for index, route in enumerate(config.routes):
            handler = load_handler(route.handler, f"routes[{index}].handler")
            app.route(
                extension=route.extension,
                number=route.number,
                name=route.name,
                metadata=route.metadata,
            )(handler)
        return app

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Build an app from a YAML file: `from_config(VoxtraConfig.from_yaml(path))`."""
        return cls.from_config(VoxtraConfig.from_yaml(path))

    # -- decorators

    def route(
        self,
        *,
        extension: str | None = None,
        number: str | None = None,
        name: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> Callable[[H], H]:
        """Send calls to an extension, or from or to a number, to the decorated handler."""
        return self._router.route(extension=extension, number=number, name=name, metadata=metadata)

    @overload
    def default(self, handler: H) -> H: ...
    @overload
    def default(self, handler: None = None) -> Callable[[H], H]: ...
    def default(self, handler: Any = None) -> Any:
        """Send calls that no route wants to the decorated handler."""
        return self._router.default()(handler) if handler is not None else self._router.default()

    default_route = default

    def on_call(
        self, handler: Any = None, *, extension: str | None = None, number: str | None = None
    ) -> Any:
        """Do what `route` and `default` do; deprecated."""
        warnings.warn(
            "on_call is deprecated; use route() or default()", DeprecationWarning, stacklevel=2
        )
        bare = extension is None and number is None
        decorate = (
            self._router.default()
            if bare
            else self._router.route(extension=extension, number=number)
        )
        return decorate(handler) if handler is not None else decorate

    @overload
    def on_startup(self, hook: H) -> H: ...
    @overload
    def on_startup(self, hook: None = None) -> Callable[[H], H]: ...
    def on_startup(self, hook: Any = None) -> Any:
        """Run the decorated async function when the PBX is connected, before the first call is
        served.
        """
        return _register(self._startup, hook)

    @overload
    def on_shutdown(self, hook: H) -> H: ...
    @overload
    def on_shutdown(self, hook: None = None) -> Callable[[H], H]: ...
    def on_shutdown(self, hook: Any = None) -> Any:
        """Run the decorated async function when the last call is over and the PBX disconnected."""
        return _register(self._shutdown, hook)

    def subscribe(self, listener: Callable[[VoxtraEvent], None]) -> None:
        """Have a function told of every event, in order and at once; it must be quick."""
        self._listeners.append(listener)

    # -- what it is

    @property
    def app_name(self) -> str:
        """The name of the Stasis application."""
        return self._app_name

    @property
    def router(self) -> Router:
        """The router that picks the handler of a call."""
        return self._router

    @property
    def telephony(self) -> BaseTelephonyAdapter:
        """The telephony adapter; one for Asterisk is made when none was given."""
        if self._telephony is None:
            url, user, password = self._ari
            self._telephony = registry.resolve_telephony("asterisk")(
                url,
                user,
                password,
                app_name=self._app_name,
                reconnect_interval=self._reconnect_interval,
            )
        return self._telephony

    @property
    def ari(self) -> ARIClient:
        """The ARI client. Raises `RuntimeError` when not connected, or where there is none."""
        self._require_calls()
        client: ARIClient | None = getattr(self.telephony, "ari", None)
        if client is None:
            raise RuntimeError(
                f"{type(self.telephony).__name__} is no Asterisk adapter: it has no ARI client"
            )
        return client

    @property
    def switchboard(self) -> Switchboard:
        """The calls and conferences of this run. Raises `RuntimeError` when not connected."""
        return self._require_calls()

    @property
    def recorder(self) -> Recorder:
        """The recorder of this run. Raises `RuntimeError` when not connected."""
        self._require_calls()
        if self._recorder is None:
            raise RuntimeError("Not connected. Call start() or run() first.")
        return self._recorder

    @property
    def recording_sink(self) -> RecordingSink | None:
        """Who is told of recordings for which no other sink was given."""
        return self._recording_sink

    @property
    def is_connected(self) -> bool:
        """Whether the PBX was reached: there are calls, a recorder and an ARI client then."""
        return self._connected

    @property
    def is_running(self) -> bool:
        """Whether calls are served."""
        return self._running

    async def wait_running(self) -> None:
        """Return when calls are served."""
        await self._serving.wait()

    @property
    def active_sessions(self) -> dict[str, CallSession]:
        """The calls that are up now, by id: a copy."""
        return dict(self._calls.sessions) if self._calls else {}

    def get_session(self, session_id: str) -> CallSession | None:
        """Return a call that is up now."""
        return self._calls.sessions.get(session_id) if self._calls else None

    def get_conference(self, conference_id: str) -> Conference | None:
        """Return a conference that is not over."""
        return self._calls.conferences.get(conference_id) if self._calls else None

    @property
    def unrouted_calls(self) -> int:
        """How many calls of this run were rejected because no handler wanted them."""
        return self._calls.unrouted if self._calls else 0

    # -- life

    def run(self) -> None:
        """Run in an event loop of its own until SIGINT or SIGTERM."""
        asyncio.run(self._run())

    async def run_async(self) -> None:
        """Run inside an application that has a loop of its own; the same as `start`."""
        await self.start()

    async def start(self) -> None:
        """Connect, serve calls, and return after `stop()`.

        The first connection is retried like any later one. Raises `AuthenticationFailed` when the
        PBX refuses our credentials, now or later, and what a startup hook raises.
        """
        if self._stopped is not None:
            raise RuntimeError("This app is running already")
        if self.debug:
            logging.getLogger("voxtra").setLevel(logging.DEBUG)
        telephony = self.telephony  # its settings may be wrong: nothing has begun then
        self._stop, self._stopped = asyncio.Event(), asyncio.Event()
        stop = asyncio.create_task(self._stop.wait())
        try:
            self._recorder = Recorder(
                telephony,
                self._spool,
                self._publish,
                default_sink=self._recording_sink,
                default_layout=self._recording_layout,
                default_max_duration=self._recording_max_duration,
                store=self._recording_store,
                aftermath=self._recording_aftermath,
                name_prefix=prefix_of(self._app_name),
            )
            self._calls = Switchboard(telephony, self._router, self._recorder, self._publish)
            telephony.listen(self._calls.on_event, self._recorder.resync)
            if self._webhook is not None:
                self._webhook.open()
            if not await _first(telephony.connect(), stop):
                return
            self._connected = True
            # Before a call is served: its handler may go on with a recording that was left running.
            self._recorder.adopt(await self._recording_store.unfinished())
            for hook in self._startup:
                # A hook that stops the app, or hangs, must not keep the stop from coming about.
                if not await _first(hook(), stop):
                    return
            self._running = True
            self._serving.set()
            self._calls.open()
            lost = await _first(telephony.connection_lost(), stop)
            if lost:
                raise lost[0]
        finally:
            stop.cancel()
            try:
                await self._shut_down()
            finally:
                self._stopped.set()
                self._stop = self._stopped = None

    async def stop(self) -> None:
        """End in good order; return when it is done.

        New calls are refused, calls in progress hung up at the same time, their recordings and
        sinks finished within `shutdown_grace`; then the PBX is disconnected, the webhook closed,
        and the shutdown hooks run. Always ends.
        """
        if self._stop is not None and self._stopped is not None:
            stopped = self._stopped
            self._stop.set()
            await stopped.wait()

    async def originate(
        self,
        endpoint: str,
        *,
        caller_id: str = "",
        timeout: float = 30,
        variables: Mapping[str, str] | None = None,
    ) -> CallSession:
        """Call somebody; return the call when the far end has answered.

        `timeout` is the ring time in seconds. Raises `DialFailed` with disposition and cause when
        nobody answered, `ValueError` for control characters, and `RuntimeError` when the app does
        not run or is being stopped.
        """
        return await self._require_calls().dial(
            endpoint, caller_id=caller_id, timeout=timeout, variables=variables
        )

    # -- the inside: life

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        main = asyncio.create_task(self.start())
        stopping: list[asyncio.Task[None]] = []

        def ask_to_stop() -> None:
            if not stopping:
                stopping.append(asyncio.create_task(self.stop()))

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ask_to_stop)
        try:
            await main
        finally:
            await asyncio.gather(*stopping)
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def _shut_down(self) -> None:
        """End what `start` began, step by step; none keeps the next from being taken."""
        self._running = False
        self._serving.clear()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._grace
        if self._calls is not None and self._recorder is not None:
            self._calls.close()
            # Half of the grace is for the calls, the rest for what they recorded.
            await self._step("conferences", self._calls.close_conferences(), self._grace)
            await self._step("hang up", self._calls.hang_up_all(self._grace / 2), self._grace)
            left = max(0.0, deadline - loop.time())
            await self._step("recordings", self._recorder.drain(left), left + STEP_DEADLINE)
            await self._step("handlers", self._calls.cancel_handlers())
        self._connected = False
        await self._step("disconnect", self.telephony.disconnect())
        if self._webhook is not None:
            await self._step("webhook", self._webhook.aclose())
        close_sink = getattr(self._recording_sink, "aclose", None)
        if close_sink is not None:
            await self._step("recording sink", close_sink())
        for hook in self._shutdown:
            await self._step("shutdown hook", hook())

    async def _step(
        self, name: str, work: Awaitable[object], seconds: float = STEP_DEADLINE
    ) -> None:
        try:
            async with asyncio.timeout(seconds):
                await work
        except TimeoutError:
            log.error("shutdown: %s took longer than %g s", name, seconds)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            log.exception("shutdown: %s awaited what was cancelled", name)
        except Exception:
            log.exception("shutdown: %s failed", name)

    def _publish(self, event: VoxtraEvent) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s %s", event.type, event.session_id, event.data)
        if self._webhook is not None:
            self._webhook.publish(event)
        for listener in self._listeners:
            listener(event)

    def _require_calls(self) -> Switchboard:
        if self._calls is None or not self._connected:
            raise RuntimeError("Not connected. Call start() or run() first.")
        return self._calls


def _register(hooks: list[Hook], hook: Any) -> Any:
    def add(function: Any) -> Any:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(
                f"{getattr(function, '__name__', function)!r} is no async function",
                fix="Use async def",
            )
        hooks.append(function)
        return function

    return add if hook is None else add(hook)


def _recording_dir(given: str | os.PathLike[str]) -> Path:
    return Path(given or os.environ.get("VOXTRA_RECORDING_DIR", "") or DEFAULT_FOLDER)


def _download_dir(given: str | os.PathLike[str]) -> Path:
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME", "") or Path.home() / ".local" / "state"
    return Path(state) / "voxtra" / "recordings"


async def _first(work: Any, stop: asyncio.Task[Any]) -> tuple[Any, ...]:
    """Await work and return its result in a tuple; an empty one when the stop comes first."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            # One that ignores its cancellation is left to itself.
            await asyncio.wait({task}, timeout=CANCEL_GRACE)
    if not task.done() or (task.cancelled() and stop.done()):
        return ()
    return (task.result(),)
