"""The `call` of a handler: verbs about this call, and no policy."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import urlsplit

from voxtra.bridge import BEEP, Bridge
from voxtra.digits import Digits
from voxtra.exceptions import CallEnded, PlaybackFailed
from voxtra.model import DEFAULT_TENANT, CallDirection, CallState, RecordingTarget, Subject
from voxtra.recorder import Recorder
from voxtra.recording_verbs import RecordingVerbs
from voxtra.serial import Serial
from voxtra.telephony.base import BaseTelephonyAdapter, Playback
from voxtra.transfer import Dialler, connect, printable

__all__ = ["CallSession"]

log = logging.getLogger(__name__)

T = TypeVar("T")
HangupHandler = Callable[[], Awaitable[object]]
DtmfHandler = Callable[[str], Awaitable[object]]

HANGUP_FOLLOWS: Final = 0.5
"""Seconds within which the end of a call explains a playback that failed: Asterisk reports the
playback first.
"""

_DTMF = re.compile(r"[0-9A-D*#]+", re.IGNORECASE)
_QUEUE = re.compile(r"[A-Za-z0-9_.-]+")
_NUMBER = re.compile(r"\+?[0-9*#]+")


class CallSession(RecordingVerbs):
    """One call. Built by the app; `id` is the channel's id on the PBX.

    Every verb raises `CallEnded` when the call is gone, and `RuntimeError` when what it needs is
    not configured.
    """

    __slots__ = (
        "_answered_at",
        "_bridge",
        "_callbacks",
        "_dialler",
        "_digits",
        "_dtmf_handlers",
        "_ended",
        "_ended_at",
        "_hanging_up",
        "_hangup_handlers",
        "_on_hold",
        "_parked",
        "_recorder",
        "_telephony",
        "_up",
        "called_number",
        "caller_id",
        "direction",
        "end_cause",
        "end_reason",
        "id",
        "metadata",
        "state",
        "tenant_id",
    )

    default_target = RecordingTarget.SNOOP

    def __init__(
        self,
        *,
        channel_id: str,
        caller_id: str = "",
        called_number: str = "",
        direction: CallDirection = CallDirection.INBOUND,
        metadata: dict[str, Any] | None = None,
        telephony: BaseTelephonyAdapter | None = None,
        recorder: Recorder | None = None,
        dialler: Dialler | None = None,
        tenant_id: str = DEFAULT_TENANT,
    ) -> None:
        self.id = channel_id
        self.tenant_id = tenant_id
        self.caller_id = caller_id
        self.called_number = called_number
        self.direction = direction
        self.state = CallState.RINGING
        self.metadata: dict[str, Any] = metadata if metadata is not None else {}
        self.end_reason = ""
        self.end_cause = 0
        self._telephony = telephony
        self._recorder = recorder
        self._dialler = dialler
        self._answered_at = 0.0
        self._ended_at = 0.0
        self._ended: asyncio.Future[None] | None = None
        self._up: asyncio.Future[None] | None = None
        self._digits: Digits | None = None
        self._dtmf_handlers: list[DtmfHandler] = []
        self._hangup_handlers: list[HangupHandler] = []
        self._callbacks: Serial | None = None
        self._bridge: Bridge | None = None
        self._hanging_up = False
        self._on_hold = False
        self._parked = False

    def __repr__(self) -> str:
        parties = printable(f"{self.caller_id}→{self.called_number}")
        return f"<CallSession {self.id} {self.direction} {parties} {self.state}>"

    # -- what it is

    @property
    def duration(self) -> float:
        """Seconds since the call was answered, until now or its end; 0.0 before."""
        if not self._answered_at:
            return 0.0
        return (self._ended_at or time.monotonic()) - self._answered_at

    @property
    def bridge(self) -> Bridge | None:
        """The conversation the call is in."""
        return self._bridge

    @property
    def agent(self) -> NoReturn:
        """The language model with this call's history."""
        _no_pipeline("agent")

    # -- basic verbs

    async def answer(self) -> None:
        """Answer; return when the call is up. Nothing happens when it is up already."""
        telephony = self._up_to_now()
        if self.state is CallState.RINGING:
            await telephony.answer_call(self.id)
            self.answered()

    async def hangup(self, reason: str = "normal") -> None:
        """Hang up, telling the far end why: normal, busy, no_answer, rejected, unallocated,
        congestion, failure.

        Nothing is awaited before the request is with the PBX; nothing happens when the call is
        over.
        """
        telephony = self._telephony_or_raise()
        if self.state.is_final or self._hanging_up:
            return
        self._hanging_up = True
        try:
            await telephony.hangup_call(self.id, reason)
        except BaseException:
            self._hanging_up = False
            raise

    async def hold(self, moh_class: str = "default") -> None:
        """Play music on hold to the caller."""
        await self._up_to_now().hold_call(self.id, moh_class)
        self._on_hold = True
        self._set_state()

    async def unhold(self) -> None:
        """Stop music on hold."""
        await self._up_to_now().unhold_call(self.id)
        self._on_hold = False
        self._set_state()

    async def wait_ended(self) -> None:
        """Return when the call is over."""
        if not self.state.is_final:
            await asyncio.shield(self._end_future())

    async def wait_answered(self) -> None:
        """Return when the call is up. Raises `CallEnded` when it ends before."""
        if not self._answered_at and not self.state.is_final:
            if self._up is None:
                self._up = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._up)
        if not self._answered_at:
            raise self._gone()

    # -- sounds and digits

    async def play_file(self, name: str, lang: str = "", *, wait: bool = True) -> Playback:
        """Play a sound of the PBX and return when it has been heard.

        `hello-world` and `sound:hello-world` mean the same; `recording:`, `number:`, `digits:`,
        `characters:` and `tone:` work too. With `wait=False` it returns at once; the playback it
        returns can be awaited or stopped. Raises `PlaybackFailed`.
        """
        telephony = self._up_to_now()
        playback = await telephony.play(self.id, name, lang=lang)
        if wait:
            try:
                await self._until_ended(playback.wait())
            except PlaybackFailed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HANGUP_FOLLOWS):
                        await self.wait_ended()
                if self.state.is_final:
                    raise self._gone() from None
                raise
        return playback

    async def play_url(self, url: str, *, wait: bool = True) -> Playback:
        """Play a sound that the PBX fetches over http or https."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: {url!r} is no http or https URL")
        return await self.play_file(f"sound:{url.replace(',', '%2C')}", wait=wait)

    async def listen_dtmf(self, max_digits: int = 1, timeout: float = 10.0) -> str:
        """Return up to `max_digits` digits; fewer after `#` (not returned), `timeout` seconds in
        all, or the end of the call.

        Digits pressed earlier count.
        """
        self._telephony_or_raise()
        return await self._pressed().read(max_digits, timeout)

    async def send_dtmf(self, digits: str) -> None:
        """Send digits to the far end: 0-9, A-D, `*` and `#`."""
        if not _DTMF.fullmatch(digits):
            raise ValueError(f"digits: {digits!r} has something else than 0-9, A-D, * and #")
        await self._up_to_now().send_dtmf(self.id, digits)

    def on_dtmf(self, handler: DtmfHandler) -> DtmfHandler:
        """Register an async handler of one digit; handlers of a call run one after another."""
        self._dtmf_handlers.append(handler)
        return handler

    def on_hangup(self, handler: HangupHandler) -> HangupHandler:
        """Register an async handler of the end of the call; it runs once, at once if the call is
        over.
        """
        if self.state.is_final:
            self._later(handler)
        else:
            self._hangup_handlers.append(handler)
        return handler

    # -- other people

    async def bridge_with(self, other: CallSession) -> Bridge:
        """Let this call and another hear each other; return the conversation, which has recording
        verbs of its own.

        A handler that returns leaves the conversation going; a call in it ends when the
        conversation does.
        """
        telephony = self._up_to_now()
        if other is self:
            raise ValueError("other: a call can't be bridged with itself")
        other._up_to_now()
        bridge = Bridge(telephony, self._recorder, self._own_subject(self.id))
        await bridge.open(self, other)
        return bridge

    async def transfer_to(self, target: str, *, timeout: float = 30.0) -> CallSession:
        """Connect the caller to somebody else; return the new call when it has answered.

        `target` is an endpoint of any technology (`PJSIP/alice`, `PJSIP/+123@trunk`,
        `Local/200@office`) or a number (dialled as `PJSIP/<number>`). The caller hears ringing for
        up to `timeout` seconds. Raises `DialFailed`; the call goes on then.
        """
        if _NUMBER.fullmatch(target):
            endpoint = f"PJSIP/{target}"
        elif "/" in target and target.isprintable():
            endpoint = target
        else:
            raise ValueError(
                f"target: {target!r} is neither a number nor an endpoint such as PJSIP/alice"
            )
        return await self._transfer(endpoint, timeout, None)

    async def transfer_to_queue(
        self, queue: str, metadata: Mapping[str, Any] | None = None, *, timeout: float = 300.0
    ) -> CallSession:
        """Connect the caller to the extension `queue` of the PBX's context `agent-queues`.

        `metadata` arrives there as channel variables `VOXTRA_<KEY>`.
        """
        if not _QUEUE.fullmatch(queue):
            raise ValueError(
                f"queue: {queue!r} has something else than letters, digits, '_', '.' and '-'"
            )
        variables = {
            f"VOXTRA_{re.sub('[^A-Z0-9]', '_', key.upper())}": str(value)
            for key, value in (metadata or {}).items()
        }
        return await self._transfer(f"Local/{queue}@agent-queues/n", timeout, variables)

    async def _transfer(
        self, endpoint: str, timeout: float, variables: Mapping[str, str] | None
    ) -> CallSession:
        telephony = self._up_to_now()
        if self._dialler is None:
            raise RuntimeError("No app: a call is transferred inside a running VoxtraApp")
        if self._bridge is not None:
            await self._bridge.give(self)
        self.state = CallState.TRANSFERRING
        try:
            # One piece of work, so that there is no moment at which whoever answered is nobody's.
            return await self._until_ended(
                connect(
                    self, telephony, self._dialler, endpoint, timeout=timeout, variables=variables
                )
            )
        finally:
            self._set_state()

    # -- speech, which needs a pipeline

    def audio_stream(self) -> NoReturn:
        """The caller's audio, chunk by chunk."""
        _no_pipeline("audio_stream")

    async def send_audio(self, chunk: object) -> None:
        """Send a chunk of audio to the caller."""
        _no_pipeline("send_audio")

    async def send_audio_bytes(self, data: bytes) -> None:
        """Send raw audio to the caller."""
        _no_pipeline("send_audio_bytes")

    async def say(self, text: str, *, interruptible: bool = True) -> None:
        """Speak a text."""
        _no_pipeline("say")

    async def listen(self, *, timeout: float = 10.0) -> str:
        """Return what the caller says next."""
        _no_pipeline("listen")

    # -- what the app and the bridge tell it

    def answered(self, ago: float = 0.0) -> bool:
        """Note that the call is up since `ago` seconds; tell whether that was news."""
        if self._answered_at or self.state.is_final:
            return False
        self._answered_at = time.monotonic() - ago
        self._set_state()
        self._wake_up()
        return True

    def ended(self, cause: int, reason: str, *, failed: bool = False, ago: float = 0.0) -> bool:
        """Note that the call is over since `ago` seconds and wake everybody who waits; tell whether
        that was news.
        """
        if self.state.is_final:
            return False
        self._ended_at = time.monotonic() - ago
        self.state = CallState.FAILED if failed else CallState.COMPLETED
        self.end_cause, self.end_reason = cause, reason
        self._wake_up()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        if self._digits is not None:
            self._digits.end()
        if self._bridge is not None:
            self._bridge.left(self)
        handlers, self._hangup_handlers = self._hangup_handlers, []
        for handler in handlers:
            self._later(handler)
        return True

    def digit(self, digit: str) -> None:
        """Note a key that was pressed."""
        self._pressed().put(digit)
        for handler in self._dtmf_handlers:
            self._later(partial(handler, digit))

    def joined(self, bridge: Bridge) -> None:
        """Note that the call is in a conversation."""
        self._bridge = bridge
        self._set_state()

    def parted(self, bridge: Bridge) -> bool:
        """Note that the call has left a conversation; tell whether it has no further purpose, its
        handler being done.
        """
        if self._bridge is not bridge:
            return False
        self._bridge = None
        self._set_state()
        return self.is_unclaimed

    async def release(self) -> None:
        """The handler is done: hang up, or leave the call to the conversation it is in."""
        if self._bridge is not None and not self._bridge.is_over:
            self._parked = True
        else:
            await self.hangup()

    def park(self) -> None:
        """Nobody but its conversation has a purpose for this call."""
        self._parked = True

    @property
    def is_unclaimed(self) -> bool:
        """Whether nobody has a purpose for this call: its handler is done, and it is in no
        conversation.
        """
        return self._parked and self._bridge is None and not self.state.is_final

    async def settled(self) -> None:
        """Wait until the callbacks handed out so far are done."""
        if self._callbacks is not None:
            await self._callbacks.wait()

    def give_up(self) -> None:
        """Cancel the callbacks that still run."""
        if self._callbacks is not None:
            self._callbacks.cancel()

    # -- helpers

    def _set_state(self) -> None:
        if self.state.is_final:
            return
        if not self._answered_at:
            self.state = CallState.RINGING
        elif self._on_hold:
            self.state = CallState.ON_HOLD
        elif self._bridge is not None:
            self.state = CallState.IN_PROGRESS
        else:
            self.state = CallState.ANSWERED

    def _wake_up(self) -> None:
        if self._up is not None and not self._up.done():
            self._up.set_result(None)

    def _telephony_or_raise(self) -> BaseTelephonyAdapter:
        if self._telephony is None:
            raise RuntimeError(
                "No telephony configured: a call is driven inside a running VoxtraApp"
            )
        return self._telephony

    def _recorder_or_raise(self) -> Recorder:
        if self._recorder is None:
            raise RuntimeError(
                "No recorder configured: a call is recorded inside a running VoxtraApp"
            )
        return self._recorder

    def _subject(self, target: RecordingTarget) -> Subject:
        self._up_to_now()
        if target is not RecordingTarget.BRIDGE:
            return self._own_subject(self.id)
        if self._bridge is None:
            raise ValueError(
                'target: this call is in no bridge; call bridge_with() first, or use target="snoop"'
            )
        return self._own_subject(self._bridge.id)

    def _own_subject(self, target_id: str) -> Subject:
        tags = self.metadata.get("tags", ())
        return Subject(
            holder_id=self.id,
            call_id=self.id,
            target_id=target_id,
            tenant_id=self.tenant_id,
            direction=self.direction,
            caller=self.caller_id,
            callee=self.called_number,
            queue=str(self.metadata.get("queue", "")),
            agent=str(self.metadata.get("agent", "")),
            tags=(tags,) if isinstance(tags, str) else tuple(map(str, tags)),
        )

    async def _beep(self) -> None:
        hearers = self._bridge.members if self._bridge is not None else (self,)
        await asyncio.gather(*(session.play_file(BEEP) for session in hearers))

    def _up_to_now(self) -> BaseTelephonyAdapter:
        """Return the telephony of a call that is not over."""
        telephony = self._telephony_or_raise()
        if self.state.is_final:
            raise self._gone()
        return telephony

    def _gone(self) -> CallEnded:
        return CallEnded(self.id, self.end_reason)

    def _end_future(self) -> asyncio.Future[None]:
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
        return self._ended

    async def _until_ended(self, work: Awaitable[T]) -> T:
        """Await work, and give it up with `CallEnded` when the call ends first."""
        task = asyncio.ensure_future(work)
        either: set[asyncio.Future[Any]] = {task, self._end_future()}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            raise self._gone()
        return task.result()

    def _pressed(self) -> Digits:
        """Return the digits, which most calls never have."""
        if self._digits is None:
            self._digits = Digits()
            if self.state.is_final:
                self._digits.end()
        return self._digits

    def _later(self, work: Callable[[], Awaitable[object]]) -> None:
        if self._callbacks is None:
            self._callbacks = Serial()
        self._callbacks.run(work)


def _no_pipeline(verb: str) -> NoReturn:
    raise RuntimeError(
        f"No AI pipeline: call.{verb} needs stt=, llm= and tts= on VoxtraApp, "
        "and a version of Voxtra that runs them; "
        "play_file() and listen_dtmf() work without one"
    )
