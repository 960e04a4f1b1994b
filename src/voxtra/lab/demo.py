"""What `script/demo` shows: a lab, `voxtra serve` on it, a call that is recorded by requests, and
the proof of what was recorded.

    python -m voxtra.lab.demo CONFIG [--once]

CONFIG is a file like `examples/service/voxtra.yaml`: its handler answers a call and plays `PROMPT`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voxtra.ari import ARIClient
from voxtra.audio.formats import lookup
from voxtra.exceptions import VoxtraError
from voxtra.ids import new_id
from voxtra.lab import sound, state
from voxtra.lab.call import PlacedCall, place_call
from voxtra.lab.errors import LabError
from voxtra.lab.instance import Lab
from voxtra.lab.proof import CALLER_HZ, PROMPT_HZ, PROMPT_SECONDS, problems_of
from voxtra.lab.served import Served

__all__ = ["main"]

NAME: Final = "demo"
"""The lab's name; one of this name that an interrupted demo has left is replaced."""

_CALL_SECONDS: Final = 4.0
_AVAILABLE_TIMEOUT: Final = 20.0
_LISTED: Final = 10
_ENDS: Final = ("recording.available", "recording.failed")

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run the demo and return the exit code: 0 when the call was recorded as it should be."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        code = _command.main(prog_name="demo", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        return 2
    except VoxtraError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    return code if isinstance(code, int) else 0


@click.command()
@click.argument("config", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--once", is_flag=True, help="End after the first call.")
def _command(config: Path, *, once: bool) -> None:
    """Record a call on a real Asterisk and show what came of it."""
    root = state.state_root().parent
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = "a demo is running already; end it with Ctrl-C in its terminal"
            raise LabError(msg) from None
        folder = root / NAME
        for name in ("data", "recordings", "downloads"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lab(folder / "recordings") as lab:
            if not asyncio.run(_demo(lab, folder, config, once=once)):
                raise click.Abort


@contextlib.contextmanager
def _lab(recordings: Path) -> Iterator[Lab]:
    """Run a lab whose recordings outlive it: what an interrupted demo has left is found again."""
    if NAME in state.names():
        state.down(NAME)
    try:
        lab, _ = state.up(NAME)
        lab.recording_dir.rmdir()
        lab.recording_dir.symlink_to(recordings)
        yield lab
    finally:
        # An impatient second Ctrl-C must not leave an Asterisk behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if NAME in state.names():
            state.down(NAME)


async def _demo(lab: Lab, folder: Path, config: Path, *, once: bool) -> bool:
    """Show one call; then, unless `once`, whatever is recorded until we are interrupted.

    Returns whether the call was seen to be recorded as it should be before that.
    """
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupted.set)
    async with ARIClient(lab.ari_url, lab.ari_user, lab.ari_password) as client:
        version = (await client.asterisk_info()).system
    _step(f"Asterisk {version.version if version else ''} is up at {lab.ari_url}")
    environment = _environment(lab, folder / "recordings")
    async with Served(config, folder / "data", environment, _show_log) as served:
        story = _Story(lab, served, folder / "downloads")
        show = asyncio.create_task(story.tell(once=once))
        stop = asyncio.create_task(interrupted.wait())
        await asyncio.wait({show, stop, served.ended}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if show.done():
            await _outcome(show, served)
        else:
            show.cancel()
            await asyncio.wait({show})
            if not interrupted.is_set():
                raise LabError(served.ended.result())
    return story.proven


async def _outcome(show: asyncio.Task[None], served: Served) -> None:
    """Raise what went wrong; a service that has ended is the cause of requests that fail."""
    try:
        await show
    except (aiohttp.ClientError, TimeoutError) as error:
        await asyncio.wait({served.ended}, timeout=2)
        if served.ended.done():
            raise LabError(served.ended.result()) from None
        msg = f"{served.url} does not answer: {error or 'not in time'}"
        raise LabError(msg) from error


class _Story:
    """All that is shown; `proven` once the first call was recorded as it should be."""

    proven = False

    def __init__(self, lab: Lab, served: Served, downloads: Path) -> None:
        self._lab = lab
        self._served = served
        self._downloads = downloads

    async def tell(self, *, once: bool) -> None:
        """Show one call; then, unless `once`, go on with those of others for ever."""
        served = self._served
        await served.ready()
        _step(f"voxtra serve -c {served.config} answers at {served.url}/v1.0")
        async with served.events("call.answered", "call.ended", *_ENDS) as events:
            await self._first(events)
            if once:
                return
            self._invite()
            async for event in events:
                await self._next(event)

    async def _first(self, events: AsyncIterator[dict[str, Any]]) -> None:
        """Place a call, have it recorded, and show and judge what came of it."""
        _step(
            f"calling 1000 for {_CALL_SECONDS:g} s: the caller sounds {CALLER_HZ} Hz, "
            f"the handler plays {PROMPT_HZ} Hz"
        )
        call = _Call(events, f"call-{new_id()}")
        placing = asyncio.create_task(
            place_call(
                self._lab, say=f"tone:{CALLER_HZ}", seconds=_CALL_SECONDS, call_id=call.call_id
            )
        )
        try:
            answered = await _answer(call, placing)
            started = await self._record(call.call_id)
            late = _at(started["started_at"]) - _at(answered["timestamp"])
            _step(f"the recording began {late:.2f} s after the answer; it ends with the call")
            placed = await placing
        finally:
            placing.cancel()
            await asyncio.gather(placing, return_exceptions=True)
        try:
            async with asyncio.timeout(_AVAILABLE_TIMEOUT):
                hung_up, end = await call.first("call.ended"), await call.first(*_ENDS)
        except TimeoutError:
            msg = f"no recording was available within {_AVAILABLE_TIMEOUT:g} s of the hang-up"
            raise LabError(msg) from None
        after = _at(end["timestamp"]) - _at(hung_up["timestamp"])
        recording, path, digest = await self._show(end)
        if recording["state"] == "failed":
            msg = f"the recording failed: {recording['cause']}"
            raise LabError(msg)
        problems = problems_of(recording, path, digest, placed)
        if problems:
            msg = f"the call was not recorded as it should be: {'; '.join(problems)}"
            raise LabError(msg)
        self.proven = True
        console.print(
            f"\n[bold green]Recorded as it should be:[/] the caller's {CALLER_HZ} Hz on the left, "
            f"the prompt's {PROMPT_HZ} Hz on the right, neither on the other side, "
            f"{recording['duration']:.2f} of {placed.seconds:.2f} s; the file has the SHA-256 of "
            f"its row; available {after:.2f} s after the hang-up."
        )

    async def _next(self, event: dict[str, Any]) -> None:
        """Record each call that is answered, and show each recording that is there."""
        try:
            if event["type"] == "call.answered":
                await self._record(event["session_id"])
            elif event["type"] in _ENDS:
                await self._show(event)
        except LabError as error:  # the call is over already, or its recording was deleted
            _step(str(error))

    async def _record(self, call_id: str) -> dict[str, Any]:
        """Have a call recorded, and return the recording."""
        path = f"/v1.0/calls/{call_id}/recording_start"
        call = await self._served.post(path, {"layout": "stereo"})
        _step(f"POST {path}: recording {call['recording_id']}")
        recording: dict[str, Any] = call["recording"]
        return recording

    async def _show(self, event: dict[str, Any]) -> tuple[dict[str, Any], Path, str]:
        """Show the list, a finished recording and its file; return the recording, where the file
        was saved, and its SHA-256.
        """
        served, path = self._served, f"/v1.0/recordings/{event['data']['recording_id']}"
        console.print("\n[bold]GET /v1.0/recordings[/]")
        page = await served.get("/v1.0/recordings", page_size=str(_LISTED))
        console.print(_table(page["result"]))
        console.print(f"\n[bold]GET {path}[/]")
        recording = await served.get(path)
        console.print_json(data=recording, indent=2)
        extension = lookup(recording["format"]).extension
        target = self._downloads / f"{recording['id']}.{extension}"
        if not recording["file"]:
            return recording, target, ""
        digest = await served.download(recording["file"], target)
        console.print(f"\n[bold]GET {recording['file']}[/]")
        console.print(f"  saved as {target}", markup=False)
        console.print(f"  SHA-256  {digest}")
        return recording, target, digest

    def _invite(self) -> None:
        """Say how others use it, the key by its file alone."""
        url = f"{self._served.url}/v1.0"
        curl = 'curl -H "Authorization: Bearer $KEY"'
        answering = '{"destination": "Local/answer-5@lab-phone/n", "extension": "1000"}'
        console.print(
            "\nIt goes on running, and records every call; Ctrl-C ends it. From another terminal:\n"
        )
        for line in (
            f"{_command_path()} lab call --name {NAME} --to 1000 --say tone:440 --for 5",
            f"KEY=$(cat {shlex.quote(str(self._served.key_file))})",
            f"{curl} {url}/recordings",
            f"{curl} {url}/recordings/$RECORDING/file --output call.wav",
            f"{curl} -H 'Content-Type: application/json' -d {shlex.quote(answering)} {url}/calls",
        ):
            console.print(f"    {line}", markup=False)


class _Call:
    """What happens to one call, found among the events of all."""

    def __init__(self, events: AsyncIterator[dict[str, Any]], call_id: str) -> None:
        self.call_id = call_id
        self._events = events
        self._seen: dict[str, dict[str, Any]] = {}

    async def first(self, *types: str) -> dict[str, Any]:
        """Return the first event of the call that is of one of the types."""
        while True:
            for event in self._seen.values():
                if event["type"] in types:
                    return event
            event = await anext(self._events)
            if event["session_id"] == self.call_id:
                self._seen.setdefault(event["type"], event)


async def _answer(call: _Call, placing: asyncio.Task[PlacedCall]) -> dict[str, Any]:
    """Return the event of the answer. Raises LabError when the call ends without."""
    answer = asyncio.create_task(call.first("call.answered"))
    try:
        await asyncio.wait({answer, placing}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
    finally:
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
    placed = placing.result()
    how = "no event told of its answer" if placed.answered else "it was not answered"
    msg = f"the call is over, and {how} (cause {placed.cause})"
    raise LabError(msg)


def _table(recordings: list[dict[str, Any]]) -> Table:
    table = Table()
    for name in ("time", "caller", "callee", "seconds", "state", "size"):
        table.add_column(
            name, justify="right" if name in ("seconds", "size") else "left", no_wrap=True
        )
    for each in recordings:
        table.add_row(
            f"{datetime.fromisoformat(each['requested_at']).astimezone():%Y-%m-%d %H:%M:%S}",
            each["caller"],
            each["callee"],
            "" if each["duration"] is None else f"{each['duration']:.2f}",
            each["state"],
            "" if each["size"] is None else f"{each['size']:,}",
        )
    return table


def _command_path() -> str:
    return shlex.quote(os.path.relpath(Path(sys.executable).with_name("voxtra")))


def _environment(lab: Lab, recordings: Path) -> dict[str, str]:
    prompt = "demo-prompt"
    sound.write(f"tone:{PROMPT_HZ}", lab.sounds_dir / f"{prompt}.wav", seconds=PROMPT_SECONDS)
    return {
        **os.environ,
        "VOXTRA_ARI_URL": lab.ari_url,
        "VOXTRA_ARI_USER": lab.ari_user,
        "VOXTRA_ARI_PASSWORD": lab.ari_password,
        "VOXTRA_RECORDING_DIR": str(recordings),
        "PROMPT": f"{lab.sounds_prefix}{prompt}",
    }


def _at(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _step(text: str) -> None:
    console.print(f"[green]●[/] {escape(text)}")


def _show_log(line: str) -> None:
    console.print(f"  serve │ {line}", style="dim", markup=False)


if __name__ == "__main__":
    sys.exit(main())
