"""What `script/demo` shows: a lab, an app on it, a call, and the proof of what was recorded.

    python -m voxtra.lab.demo APP [--once]

APP is a program like `examples/record_call.py`: it serves the application `voxtra` with what the
environment says, plays `PROMPT`, records both sides, and prints each finished recording as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape

from voxtra.ari import ARIClient
from voxtra.audio.decode import decode
from voxtra.audio.formats import lookup
from voxtra.audio.measure import measure
from voxtra.audio.tone import level
from voxtra.exceptions import NotFound, VoxtraError
from voxtra.lab import sound, state
from voxtra.lab.call import PlacedCall, place_call
from voxtra.lab.errors import LabError
from voxtra.lab.instance import Lab

__all__ = ["main", "problems_of"]

NAME: Final = "demo"
"""The lab's name; one of this name that an interrupted demo has left is replaced."""

CALLER_HZ: Final = 440
APP_HZ: Final = 880

_CALL_SECONDS: Final = 4.0
_PROMPT_SECONDS: Final = 2.5
_READY_TIMEOUT: Final = 20.0
_SINK_TIMEOUT: Final = 15.0
_END_TIMEOUT: Final = 15.0  # the app's own shutdown may take 10

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
@click.argument("app", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--once", is_flag=True, help="End after the first call.")
def _command(app: Path, *, once: bool) -> None:
    """Record a call on a real Asterisk and show what came of it."""
    root = state.state_root().parent
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = "a demo is running already; end it with Ctrl-C in its terminal"
            raise LabError(msg) from None
        with _lab(root / "demo-recordings") as (lab, recordings):
            if not asyncio.run(_demo(lab, recordings, app, once=once)):
                raise click.Abort


@contextlib.contextmanager
def _lab(recordings: Path) -> Iterator[tuple[Lab, Path]]:
    """Run a lab whose recordings outlive it, in a folder of their own."""
    if NAME in state.names():
        state.down(NAME)
    try:
        lab, _ = state.up(NAME)
        recordings.mkdir(mode=0o700, exist_ok=True)
        lab.recording_dir.rmdir()
        lab.recording_dir.symlink_to(recordings)
        yield lab, recordings
    finally:
        # An impatient second Ctrl-C must not leave an Asterisk behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if NAME in state.names():
            state.down(NAME)


async def _demo(lab: Lab, recordings: Path, path: Path, *, once: bool) -> bool:
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
        async with _App(path, _environment(lab, recordings)) as app:
            show = asyncio.create_task(_show_calls(lab, client, app, once=once))
            stop = asyncio.create_task(interrupted.wait())
            await asyncio.wait({show, stop}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if show.done():
                await show
            else:
                show.cancel()
                await asyncio.wait({show})
        return app.proven


async def _show_calls(lab: Lab, client: ARIClient, app: _App, *, once: bool) -> None:
    await app.connected(client)
    _step(f"{app.path} serves calls")
    _step(
        f"calling 1000 for {_CALL_SECONDS:g} s: the caller sounds {CALLER_HZ} Hz, "
        f"the app answers with {APP_HZ} Hz"
    )
    placed = await place_call(lab, say=f"tone:{CALLER_HZ}", seconds=_CALL_SECONDS)
    if not placed.answered:
        msg = f"the call was not answered (cause {placed.cause})"
        raise LabError(msg)
    try:
        async with asyncio.timeout(_SINK_TIMEOUT):
            payload = await app.recorded()
    except TimeoutError:
        msg = f"the app's sink was told of no recording within {_SINK_TIMEOUT:g} s of the hang-up"
        raise LabError(msg) from None
    _summary(payload)
    problems = problems_of(payload, placed)
    if problems:
        msg = f"the call was not recorded as it should be: {'; '.join(problems)}"
        raise LabError(msg)
    app.proven = True
    console.print(
        f"\n[bold green]Recorded as it should be:[/] the caller's {CALLER_HZ} Hz on the left, "
        f"the app's {APP_HZ} Hz on the right, neither on the other side, "
        f"{payload['duration_seconds']:.2f} of {placed.seconds:.2f} s."
    )
    if once:
        return
    call = f"    {_command_path()} lab call --name {NAME} --to 1000"
    console.print("\nIt goes on running; Ctrl-C ends it. Place more calls from another terminal:\n")
    console.print(f"{call} --say tone:440 --for 5")
    console.print(f"{call} --say 'say:Hello there' --for 5")
    while True:
        _summary(await app.recorded())


def _command_path() -> str:
    return shlex.quote(os.path.relpath(Path(sys.executable).with_name("voxtra")))


def problems_of(payload: dict[str, Any], placed: PlacedCall) -> list[str]:
    """Compare what the sink was told, and the file itself, with the call that was placed."""
    path = Path(payload["file_path"])
    if not path.is_file():
        return [f"there is no file {path}"]
    fmt = lookup(payload["format"])
    found = measure(path, fmt)
    if found.problem:
        return [f"{path}: {found.problem}"]
    if found.channels != 2:
        return [f"{path}: has {found.channels} channel instead of two"]
    problems = []
    if payload["session_id"] != placed.call_id:
        problems.append(f"the sink names call {payload['session_id']}, not {placed.call_id}")
    if abs(found.seconds - placed.seconds) > 0.3:
        problems.append(f"it has {found.seconds:.2f} s of a call of {placed.seconds:.2f} s")
    if payload["duration_seconds"] != found.seconds:
        problems.append(f"the sink was told {payload['duration_seconds']} s")
    samples, rate = decode(path, fmt)
    both = samples[rate // 2 : rate * 2]  # when both sides sound
    for side, channel, own, other in (
        ("left (the caller)", 0, CALLER_HZ, APP_HZ),
        ("right (the app)", 1, APP_HZ, CALLER_HZ),
    ):
        loud, leaked = (level(both[:, channel], hertz, rate) for hertz in (own, other))
        if loud < -20:
            problems.append(f"{own} Hz is not on the {side}: {loud:.0f} dBFS")
        if leaked > loud - 30:
            problems.append(f"{other} Hz is on the {side}: {leaked:.0f} dBFS")
    return problems


class _App:
    """The app as a process of its own; it is told to end when the block ends."""

    proven = False

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        self.path = path
        self._environment = environment
        self._recordings: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> _App:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            msg = "setpriv is missing: apt-get install util-linux"
            raise LabError(msg)
        self._process = await asyncio.create_subprocess_exec(
            *(setpriv, "--pdeathsig", "TERM", sys.executable, str(self.path)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for us; we end the app in good order
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(_END_TIMEOUT):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def connected(self, client: ARIClient) -> None:
        """Return when the app is there for calls."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _READY_TIMEOUT
        while loop.time() < deadline:
            self._check()
            try:
                await client.get_application("voxtra")
            except NotFound:
                await asyncio.sleep(0.05)
            else:
                return
        msg = f"{self.path} has not connected as application 'voxtra' in {_READY_TIMEOUT:g} s"
        raise LabError(msg)

    async def recorded(self) -> dict[str, Any]:
        """Return what the app's sink is told next. Raises LabError when the app ends before."""
        next_one = asyncio.create_task(self._recordings.get())
        try:
            await asyncio.wait({next_one, self._reader}, return_when=asyncio.FIRST_COMPLETED)
            if not next_one.done():
                await self._process.wait()
                self._check()
            return next_one.result()
        finally:
            next_one.cancel()

    def _check(self) -> None:
        if self._process.returncode is not None:
            msg = f"{self.path} has ended with code {self._process.returncode}"
            raise LabError(msg)

    async def _read(self) -> None:
        output = self._process.stdout
        if output is None:
            raise RuntimeError("the app was started without a pipe")
        async for raw in output:
            line = raw.decode(errors="replace").rstrip()
            payload = _payload(line)
            if payload is None:
                console.print(f"  app │ {line}", style="dim", markup=False)
            else:
                self._recordings.put_nowait(payload)


def _payload(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "file_path" in value else None


def _environment(lab: Lab, recordings: Path) -> dict[str, str]:
    prompt = "demo-prompt"
    sound.write(f"tone:{APP_HZ}", lab.sounds_dir / f"{prompt}.wav", seconds=_PROMPT_SECONDS)
    return {
        **os.environ,
        "VOXTRA_ARI_URL": lab.ari_url,
        "VOXTRA_ARI_USER": lab.ari_user,
        "VOXTRA_ARI_PASSWORD": lab.ari_password,
        "VOXTRA_RECORDING_DIR": str(recordings),
        "PROMPT": f"{lab.sounds_prefix}{prompt}",
    }


def _step(text: str) -> None:
    console.print(f"[green]●[/] {text}")


def _summary(payload: dict[str, Any]) -> None:
    path = Path(payload["file_path"])
    seconds = payload["duration_seconds"]
    console.print("\n[bold]A recording[/]")
    for label, value in (
        ("name", payload["name"]),
        ("format", f"{payload['format']}, {payload['extra'].get('layout', '')}"),
        ("seconds", "unknown" if seconds is None else f"{seconds:.2f}"),
        ("size", f"{path.stat().st_size:,} bytes" if path.is_file() else "no file"),
        ("path", path),
        ("the sink was told", ""),
    ):
        console.print(f"  [cyan]{label:<9}[/] {escape(str(value))}")
    console.print_json(data=payload, indent=2)


if __name__ == "__main__":
    sys.exit(main())
