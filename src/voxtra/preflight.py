"""Whether an Asterisk can do what Voxtra needs: looked at, and proven by a short recording.

The recording needs no phone and no dialplan: it is a snoop on an RTP channel that nobody sends to,
which a clock fills with silence. It tells more than any look at permissions: a recording folder
that Asterisk can't write still gives RecordingFinished `done`, and no file.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from voxtra.ari.client import ARIClient
from voxtra.ari.decode import decode
from voxtra.ari.schema import (
    AsteriskInfo,
    Event,
    RecordingFailed,
    RecordingFinished,
    RecordingStarted,
    StasisEnd,
    StasisStart,
)
from voxtra.audio.formats import lookup
from voxtra.audio.measure import Measurement, measure
from voxtra.exceptions import ConfigurationError, Forbidden, NotFound, ServerError, TelephonyError
from voxtra.ids import own_id

__all__ = ["FREE_SPACE_MARK", "NEWEST_TESTED", "OLDEST_SUPPORTED", "Check", "run_checks"]

OLDEST_SUPPORTED: Final = 20
"""The first major version of Asterisk that has all that is used."""

NEWEST_TESTED: Final = 22
"""The last major version of Asterisk that the tests have run on."""

FREE_SPACE_MARK: Final = 1_000_000_000
"""Bytes that should be free where recordings are written: 17 hours of `wav`."""

_PROBE_SECONDS: Final = 0.25
_STEP_TIMEOUT: Final = 5.0  # seconds for each event of the probe; they take milliseconds
_WAV: Final = lookup("wav")

_NEEDED_MODULES: Final = (
    "res_stasis_answer",
    "res_stasis_playback",
    "res_stasis_recording",
    "res_stasis_snoop",
    "res_ari_applications",
    "res_ari_bridges",
    "res_ari_channels",
    "res_ari_events",
    "res_ari_playbacks",
    "res_ari_recordings",
    "app_stasis",
    "bridge_softmix",
    "chan_rtp",
)

_FORMAT_MODULES: Final = {
    "format_wav": "wav wav16",
    "format_wav_gsm": "wav49",
    "format_gsm": "gsm",
    "format_pcm": "ulaw alaw au g722",
    "format_sln": "sln sln16 sln48",
    "format_g726": "g726-32",
    "format_vox": "vox",
    "format_ogg_vorbis": "ogg",
    "format_ogg_opus": "opus",  # also format_ogg_opus_open_source
}

_SPOOL_FIX: Final = (
    "In asterisk.conf look up astspooldir; its folder `recording` must exist and belong to the "
    "user that Asterisk runs as, on a disk with free space"
)

_FOLDER_FIX: Final = (
    "Set recording_dir (VOXTRA_RECORDING_DIR) to Asterisk's recording folder as seen here"
)

_FETCHED_FIX: Final = (
    "If Asterisk's recording folder is mounted here, set recording_dir (VOXTRA_RECORDING_DIR) to it"
)


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and what to do about it.

    A check that is `ok` and has a `fix` is a warning.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


async def run_checks(client: ARIClient, recording_dir: Path) -> list[Check]:
    """Examine the Asterisk of `client`, and its recording folder as seen from here.

    `client.app_name` must be a name that nobody serves: its events are read here. It takes about a
    second, and leaves neither a channel nor a file. Raises TelephonyConnectionError when there is
    no answer (AuthenticationFailed for a wrong user or password).
    """
    info = await client.connect()
    with contextlib.suppress(NotFound):
        await client.get_application()
        raise ConfigurationError(
            f"{client.app_name!r} is served by a running program",
            field="app_name",
            fix="Give the checks an application name of their own",
        )
    checks = [_version(info)]
    may_write = await _user(client)
    checks.append(may_write)
    checks += await _modules(client)
    checks.append(await _sounds(client))
    try:
        events = await client.events_websocket(heartbeat=_STEP_TIMEOUT)
    except TelephonyError as error:
        checks.append(
            Check("events", False, str(error), "Load res_http_websocket.so and res_ari_events.so")
        )
    else:
        checks.append(Check("events", True, "the events websocket opens"))
        try:
            if may_write.ok:
                checks.append(await _Probe(client, events, recording_dir).run())
        finally:
            await events.close()
    checks.append(_free_space(recording_dir))
    return checks


def _version(info: AsteriskInfo) -> Check:
    version = info.system.version if info.system is not None else ""
    found = re.search(r"\d+", version)
    if found is None:
        fix = f"Make sure that it is {OLDEST_SUPPORTED} or later"
        return Check("version", True, f"Asterisk calls itself {version!r}", fix)
    major = int(found[0])
    if major < OLDEST_SUPPORTED:
        fix = f"Install Asterisk {OLDEST_SUPPORTED} or later"
        return Check("version", False, f"Asterisk {version} is too old", fix)
    if major > NEWEST_TESTED:
        fix = f"Voxtra is tested up to {NEWEST_TESTED}; try your calls before you rely on them"
        return Check("version", True, f"Asterisk {version}", fix)
    return Check("version", True, f"Asterisk {version}")


async def _user(client: ARIClient) -> Check:
    """Try what a user who may only read can't: hang up, a channel that does not exist."""
    try:
        await client.hangup_channel(own_id("none"))
    except Forbidden:
        fix = f"In ari.conf set read_only=no in the section [{client.username}]"
        return Check("user", False, f"the ARI user {client.username!r} may only read", fix)
    except NotFound:
        pass
    return Check("user", True, f"the ARI user {client.username!r} may read and write")


async def _modules(client: ARIClient) -> list[Check]:
    running = {
        module.name.removesuffix(".so")
        for module in await client.list_modules()
        if module.status == "Running"
    }
    missing = [name for name in _NEEDED_MODULES if name not in running]
    if missing:
        fix = f"Load them in modules.conf: {' '.join(f'{name}.so' for name in missing)}"
        modules = Check("modules", False, f"not loaded: {', '.join(missing)}", fix)
    else:
        modules = Check("modules", True, "all that is needed is loaded")
    formats = " ".join(
        names
        for module, names in _FORMAT_MODULES.items()
        if module in running or f"{module}_open_source" in running
    )
    if "format_wav" in running:
        return [modules, Check("formats", True, f"can record {formats}")]
    detail = f"can't record wav, the default, but only: {formats or 'nothing'}"
    return [modules, Check("formats", False, detail, "Load format_wav.so in modules.conf")]


async def _sounds(client: ARIClient) -> Check:
    try:
        sounds = await client.list_sounds()
    except NotFound:  # what Asterisk says in place of an empty list
        fix = "Install them (Debian: asterisk-core-sounds-en-gsm) below `sounds` in astdatadir"
        return Check("sounds", False, "no prompts are installed: play_file will fail", fix)
    languages = sorted({pair.language for sound in sounds for pair in sound.formats})
    return Check("sounds", True, f"{len(sounds)} prompts ({', '.join(languages)})")


def _free_space(folder: Path) -> Check:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("disk", True, f"{folder} can't be seen from here ({error.strerror})")
    detail = f"{free / 1e9:.1f} GB free at {folder}"
    if free < FREE_SPACE_MARK:
        return Check("disk", False, detail, "Make room: a full disk cuts recordings off")
    return Check("disk", True, detail)


class _Probe:
    """A recording of a quarter of a second, and the search for its file."""

    def __init__(
        self, client: ARIClient, events: aiohttp.ClientWebSocketResponse, folder: Path
    ) -> None:
        self._client = client
        self._events = events
        self._folder = folder
        self._name = own_id("check")
        self._line = own_id("check-line")
        self._snoop = own_id("check-snoop")

    async def run(self) -> Check:
        try:
            problem = await self._record()
            if problem:
                return Check("recording", False, problem, _SPOOL_FIX)
            return await self._judge()
        except TimeoutError:
            detail = f"Asterisk did not report within {_STEP_TIMEOUT:g} s what the test needs"
            return Check("recording", False, detail, "See its log for why it hangs")
        except TelephonyError as error:
            fix = "See what Asterisk's log says of it, and the check of modules"
            return Check("recording", False, f"a test recording failed: {error}", fix)
        finally:
            with contextlib.suppress(NotFound):
                await self._client.delete_stored_recording(self._name)

    async def _record(self) -> str:
        """Record, and return when no channel is left; say what went wrong, or ""."""
        channel = ""
        try:
            await self._client.external_media("127.0.0.1:9", channel_id=self._line, fmt="slin")
            channel = await self._entered(self._line)
            await self._client.snoop_channel(self._line, spy="both", snoop_id=self._snoop)
            channel = await self._entered(self._snoop)
            await self._client.record_channel(self._snoop, self._name, fmt="wav")
            begun = await self._until(self._is_recording)
            if isinstance(begun, RecordingFailed):
                return f"Asterisk could not record: {begun.recording.cause}"
            await asyncio.sleep(_PROBE_SECONDS)  # the length of the recording
            return ""
        except ServerError as error:
            # Seen when the folder does not exist: an error 500 without a word, and none in the log.
            if error.path.endswith("/record"):
                return "Asterisk refuses to record: its recording folder is not there"
            raise
        finally:
            # The end of the line ends the snoop and the recording; unlike a stop it can't be lost.
            with contextlib.suppress(NotFound):
                await self._client.hangup_channel(self._line)
            if channel:
                await self._until(lambda it: isinstance(it, StasisEnd) and it.channel.id == channel)

    async def _entered(self, channel_id: str) -> str:
        await self._until(lambda it: isinstance(it, StasisStart) and it.channel.id == channel_id)
        return channel_id

    def _is_recording(self, event: Event) -> bool:
        kinds = RecordingStarted | RecordingFinished | RecordingFailed
        return isinstance(event, kinds) and event.recording.name == self._name

    async def _until(self, wanted: Callable[[Event], bool]) -> Event:
        async with asyncio.timeout(_STEP_TIMEOUT):
            async for message in self._events:
                event = decode(message.data)
                if wanted(event):
                    return event
        raise TelephonyError("the events websocket was closed")

    async def _judge(self) -> Check:
        path = self._folder / f"{self._name}.{_WAV.extension}"
        if path.is_file():
            return _by_content(measure(path, _WAV), f"Asterisk writes to {self._folder}")
        try:
            await self._client.get_stored_recording(self._name)
        except NotFound:
            detail = "Asterisk can't write its recording folder: it says done, and there is no file"
            if not self._folder.exists():
                detail += f" ({self._folder} does not exist here)"
            elif not self._folder.is_dir():
                detail += f" ({self._folder} is no folder)"
            return Check("recording", False, detail, _SPOOL_FIX)
        if self._folder.is_dir():
            detail = f"Asterisk records, but not to {self._folder}"
            return Check("recording", False, detail, _FOLDER_FIX)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, path.name)
            await self._client.download_stored_recording(self._name, copy)
            found = _by_content(measure(copy, _WAV), "Asterisk records, and ARI hands the file out")
        if not found.ok:
            return found
        detail = f"{found.detail}; {self._folder} does not exist here"
        return Check(found.name, True, detail, _FETCHED_FIX)


def _by_content(found: Measurement, what: str) -> Check:
    if found.problem:
        return Check("recording", False, f"{what}, but {found.problem}", _SPOOL_FIX)
    return Check("recording", True, f"{what} ({found.seconds:.2f} s recorded as a test)")
