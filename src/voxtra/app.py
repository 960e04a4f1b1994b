"""VoxtraApp: builds the graph of objects, routes calls to handlers, and begins and ends in good
order.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import warnings
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

from voxtra.catalog import RecordingStore
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import CallEnded, ConfigurationError, DialFailed, VoxtraError
from voxtra.ids import own_id
from voxtra.model import CallDirection, Disposition, Layout
from voxtra.recorder import Recorder
from voxtra.recording import RecordingSink
from voxtra.registry import registry
from voxtra.router import CallInfo, Handler, Router
from voxtra.session import CallSession
from voxtra.spool import DEFAULT_FOLDER, Spool
from voxtra.telephony.base import BaseTelephonyAdapter, Gap
from voxtra.telephony.causes import disposition_of

if TYPE_CHECKING:
    from voxtra.ari import ARIClient
    from voxtra.config import VoxtraConfig
    from voxtra.webhooks import BackendWebhook

__all__ = ["VoxtraApp"]

log = logging.getLogger(__name__)

Hook = Callable[[], Awaitable[object]]
H = TypeVar("H", bound=Callable[..., Any])

GRACE: Final = 10.0
"""Seconds that `stop()` gives to calls, recordings and sinks together."""

HOOK_DEADLINE: Final = 10.0
"""Seconds for each shutdown hook."""


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
        self._recording_store = recording_store
        self._spool = Spool(_recording_dir(recording_dir), _download_dir(download_dir))
        self._recording_layout = recording_layout
        self._recording_max_duration = recording_max_duration
        self._grace = shutdown_grace
        self._startup: list[Hook] = []
        self._shutdown: list[Hook] = []
        self._sessions: dict[str, CallSession] = {}
        self._recorder: Recorder | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._backlog: list[VoxtraEvent] | None = None
        self._connected = False
        self._running = False
        self._stop: asyncio.Event | None = None
        self._stopped: asyncio.Event | None = None
        self.unrouted_calls = 0
        """How many calls were rejected because no handler wanted them."""

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
        from voxtra.webhooks import BackendWebhook

        provider: Any = registry.resolve_telephony(config.telephony.provider)
        adapter = provider.from_config(
            config.telephony, reconnect_interval=config.reconnect_interval
        )
        webhook = config.backend.webhook
        if webhook.url and "webhook" not in options:
            options["webhook"] = BackendWebhook(webhook)
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
            handler = _import_handler(route.handler, f"routes[{index}].handler")
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
        from voxtra.config import VoxtraConfig

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
        """The ARI client. Raises `RuntimeError` when not connected, or when the adapter has none."""
        self._require_connection()
        client: ARIClient | None = getattr(self.telephony, "ari", None)
        if client is None:
            raise RuntimeError(
                f"{type(self.telephony).__name__} is no Asterisk adapter: it has no ARI client"
            )
        return client

    @property
    def is_running(self) -> bool:
        """Whether calls are served."""
        return self._running

    @property
    def active_sessions(self) -> dict[str, CallSession]:
        """The calls that are up now, by id: a copy."""
        return dict(self._sessions)

    def get_session(self, session_id: str) -> CallSession | None:
        """Return a call that is up now."""
        return self._sessions.get(session_id)

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
        self._stop, self._stopped = asyncio.Event(), asyncio.Event()
        self._backlog = []
        stop = asyncio.create_task(self._stop.wait())
        try:
            self._recorder = self._build_recorder()
            self.telephony.listen(self._on_event, self._on_gap)
            if self._webhook is not None:
                self._webhook.open()
            if not await _first(self.telephony.connect(), stop):
                return
            self._connected = True
            for hook in self._startup:
                await hook()
            self._running = True
            self._serve_backlog()
            lost = await _first(self.telephony.connection_lost(), stop)
            if lost:
                raise lost[0]
        finally:
            stop.cancel()
            await self._shut_down()
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
        nobody answered.
        """
        self._require_connection()
        return await self._dial(endpoint, caller_id=caller_id, timeout=timeout, variables=variables)

    # -- the inside: life
    # ---------------------------------------------------------------------------------------------

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
        self._running = False
        deadline = asyncio.get_running_loop().time() + self._grace
        if self._connected:
            await self._end_sessions(deadline)
        if self._recorder is not None:
            await self._recorder.drain(max(0.0, deadline - asyncio.get_running_loop().time()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._connected = False
        self._backlog = None
        await self._step("disconnect", self.telephony.disconnect())
        if self._webhook is not None:
            await self._step("webhook", self._webhook.aclose())
        close_sink = getattr(self._recording_sink, "aclose", None)
        if close_sink is not None:
            await self._step("recording sink", close_sink())
        for hook in self._shutdown:
            await self._step("shutdown hook", hook())

    async def _step(self, name: str, work: Awaitable[object]) -> None:
        """Do one step of the shutdown; nothing it does or raises keeps the next from being done."""
        try:
            async with asyncio.timeout(HOOK_DEADLINE):
                await work
        except TimeoutError:
            log.error("shutdown: %s took longer than %g s", name, HOOK_DEADLINE)
        except Exception:
            log.exception("shutdown: %s failed", name)

    async def _end_sessions(self, deadline: float) -> None:
        """Hang up every call at once and wait until the PBX says that they are over."""
        sessions = list(self._sessions.values())
        if not sessions:
            return
        log.info("hanging up %d calls", len(sessions))
        results = await asyncio.gather(
            *(session.hangup() for session in sessions), return_exceptions=True
        )
        for session, result in zip(sessions, results, strict=True):
            if isinstance(result, Exception):
                log.error("call %s could not be hung up: %s", session.id, result)
        # Half of the grace is the recordings' and the sinks'.
        left = (deadline - asyncio.get_running_loop().time()) / 2
        waits = [asyncio.create_task(session.wait_ended()) for session in sessions]
        _, pending = await asyncio.wait(waits, timeout=max(0.0, left))
        for wait in pending:
            wait.cancel()
        for session in sessions:
            if not session.state.is_final:
                self._end(session, 0, "no word of its end before the shutdown")
        await asyncio.wait(
            [asyncio.create_task(session.settled()) for session in sessions], timeout=max(0.0, left)
        )
        for session in sessions:
            session.give_up()

    def _build_recorder(self) -> Recorder:
        return Recorder(
            self.telephony,
            self._spool,
            self._publish,
            default_sink=self._recording_sink,
            default_layout=self._recording_layout,
            default_max_duration=self._recording_max_duration,
            store=self._recording_store,
        )

    def _require_connection(self) -> None:
        if not self._connected:
            raise RuntimeError("Not connected. Call start() or run() first.")

    # -- the inside: events
    # -------------------------------------------------------------------------------------------

    def _on_event(self, event: VoxtraEvent) -> None:
        """Take one event of the adapter. Synchronous: what it changes is changed before the next
        event.
        """
        if event.type in _RECORDING:
            if self._recorder is not None:
                self._recorder.on_event(event)
            return
        session = self._sessions.get(event.session_id)
        if session is None and self._backlog is not None and not self._running:
            # The startup hooks are not done: calls wait for them, with all that happens to them
            # meanwhile.
            self._backlog.append(event)
        elif event.type is EventType.CALL_STARTED:
            self._begin(event)
        elif session is not None:
            self._advance(session, event)

    def _serve_backlog(self) -> None:
        backlog, self._backlog = self._backlog or [], None
        for event in backlog:
            self._on_event(event)

    def _begin(self, event: VoxtraEvent) -> None:
        """Somebody calls: find the handler and let it serve the call."""
        data = event.data
        session = self._session(
            event.session_id,
            data["caller_id"],
            data["called_number"],
            CallDirection(data["direction"]),
        )
        self._publish(event)
        if not self._running:
            self._spawn(self._reject(session, "congestion", "the app is stopping"))
            return
        info = CallInfo(session.id, session.caller_id, session.called_number, session.direction)
        self._spawn(self._serve(session, info))

    def _advance(self, session: CallSession, event: VoxtraEvent) -> None:
        kind = event.type
        if kind is EventType.CALL_ANSWERED:
            session.answered()
            self._publish(event)
        elif kind is EventType.DTMF_RECEIVED:
            session.digit(event.data["digit"])
            self._publish(event)
            if self._recorder is not None:
                self._recorder.on_digit(session.id, event.data["digit"])
        elif kind is EventType.CALL_ENDED:
            answered = event.data.get("answered", True)
            self._end(session, event.data["cause"], event.data["reason"], dial_failed=not answered)
        elif kind is EventType.CALL_TRANSFERRED:
            self._replace(session, event)
        else:
            self._publish(event)

    def _end(
        self, session: CallSession, cause: int, reason: str, *, dial_failed: bool = False
    ) -> None:
        """A call is over, or a dial failed."""
        failed = dial_failed and session.direction is CallDirection.OUTBOUND
        self._sessions.pop(session.id, None)
        if not session.ended(cause, reason, failed=failed):
            return
        if self._recorder is not None:
            self._recorder.on_target_gone(session.id)
        data: dict[str, Any] = {"cause": cause, "reason": reason}
        if failed:
            kind = EventType.CALL_FAILED
            data["disposition"] = (disposition_of(cause) if cause else Disposition.FAILED).value
        else:
            kind = EventType.CALL_ENDED
            data["duration_seconds"] = round(session.duration, 3)
        self._publish(VoxtraEvent(kind, session.id, data))

    def _replace(self, session: CallSession, event: VoxtraEvent) -> None:
        """A phone transferred its call: another leg stands in its place."""
        new = self._session(
            event.data["replaced_by"],
            session.caller_id,
            session.called_number,
            CallDirection.OUTBOUND,
        )
        new.answered()
        new.park()
        if session.bridge is not None:
            session.bridge.replace(session, new)
        self._publish(event)

    async def _on_gap(self, gap: Gap) -> None:
        if self._recorder is not None:
            await self._recorder.resync(gap)

    def _publish(self, event: VoxtraEvent) -> None:
        log.debug("%s %s %s", event.type, event.session_id, event.data)
        if self._webhook is not None:
            self._webhook.publish(event)

    # -- the inside: calls
    # --------------------------------------------------------------------------------------------

    def _session(
        self, call_id: str, caller_id: str, called_number: str, direction: CallDirection
    ) -> CallSession:
        session = CallSession(
            channel_id=call_id,
            caller_id=caller_id,
            called_number=called_number,
            direction=direction,
            telephony=self.telephony,
            recorder=self._recorder,
            dialler=self._dial_for,
        )
        self._sessions[call_id] = session
        return session

    async def _serve(self, session: CallSession, info: CallInfo) -> None:
        match = await self._router.select(info)
        if match.handler is None:
            self.unrouted_calls += 1
            log.warning(
                "no handler for the call of %s to %s", session.caller_id, session.called_number
            )
            await self._reject(session, "unallocated", "no handler for it")
            return
        session.metadata.update(match.metadata)
        try:
            await match.handler(session)
        except CallEnded:
            pass
        except Exception as error:
            log.exception("the handler of call %s failed", session.id)
            self._publish(
                VoxtraEvent(
                    EventType.ERROR,
                    session.id,
                    {"error_type": type(error).__name__, "message": str(error)},
                )
            )
        finally:
            await self._try("release", session.release())

    async def _reject(self, session: CallSession, reason: str, why: str) -> None:
        self._publish(
            VoxtraEvent(
                EventType.CALL_FAILED, session.id, {"reason": why, "disposition": "rejected"}
            )
        )
        await self._try("reject", session.hangup(reason))

    async def _try(self, verb: str, work: Awaitable[object]) -> None:
        try:
            await work
        except VoxtraError as error:
            log.warning("could not %s a call: %s", verb, error)

    async def _dial(
        self,
        endpoint: str,
        *,
        caller_id: str,
        timeout: float,
        variables: Mapping[str, str] | None,
        metadata: dict[str, Any] | None = None,
    ) -> CallSession:
        session = self._session(own_id("call"), caller_id, endpoint, CallDirection.OUTBOUND)
        session.metadata.update(metadata or {})
        self._publish(
            VoxtraEvent(
                EventType.CALL_STARTED,
                session.id,
                {"caller_id": caller_id, "called_number": endpoint, "direction": "outbound"},
            )
        )
        try:
            await self.telephony.originate(
                endpoint,
                call_id=session.id,
                caller_id=caller_id,
                timeout=timeout,
                variables=variables,
            )
        except DialFailed as error:
            self._end(session, error.cause, str(error.disposition), dial_failed=True)
            raise
        except BaseException as error:
            self._end(session, 0, str(error) or type(error).__name__, dial_failed=True)
            raise
        session.answered()
        return session

    async def _dial_for(
        self,
        endpoint: str,
        *,
        caller_id: str,
        timeout: float,
        variables: Mapping[str, str] | None,
        origin: CallSession,
    ) -> CallSession:
        other = await self._dial(
            endpoint,
            caller_id=caller_id,
            timeout=timeout,
            variables=variables,
            metadata={"transferred_from": origin.id},
        )
        other.park()
        self._publish(
            VoxtraEvent(
                EventType.CALL_TRANSFERRED,
                origin.id,
                {"target": endpoint, "transferred_to": other.id},
            )
        )
        return other

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("serving a call failed", exc_info=task.exception())


_RECORDING: Final = frozenset(
    {EventType.RECORDING_STARTED, EventType.RECORDING_FINISHED, EventType.RECORDING_FAILED}
)


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


def _import_handler(path: str, field: str) -> Handler:
    import importlib

    module_name, _, name = path.partition(":")
    try:
        handler = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{path!r} can't be imported: {error}",
            field=field,
            fix="Write package.module:function of an importable module",
        ) from error
    if not inspect.iscoroutinefunction(handler):
        raise ConfigurationError(f"{path!r} is no async function", field=field, fix="Use async def")
    return handler  # type: ignore[no-any-return]


async def _first(work: Any, stop: asyncio.Task[Any]) -> tuple[Any, ...]:
    """Await work and return its result in a tuple; an empty one when the stop comes first."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return () if task.cancelled() else (task.result(),)
