"""The commands `voxtra lab up|down|status|call|logs`."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from voxtra.exceptions import VoxtraError
from voxtra.lab import sound, state
from voxtra.lab.call import place_call
from voxtra.lab.instance import Lab

__all__ = ["lab"]

_NO_APPLICATION = (
    42  # the cause with which the lab's dialplan refuses a call whose application is away
)


class _Group(click.Group):
    """Shows our errors as one line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # click's own signature
        try:
            return super().invoke(ctx)
        except VoxtraError as error:
            raise click.ClickException(str(error)) from error


_name = click.option("--name", default="lab", show_default=True, help="Which lab.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=_Group)
def lab() -> None:
    """Run a disposable real Asterisk.

    It is for development and tests, on loopback alone, and needs no root.
    """


@lab.command()
@_name
@_json
def up(name: str, as_json: bool) -> None:
    """Start a lab that goes on running.

    Nothing happens when it runs already.
    """
    running, fresh = state.up(name)
    facts = _facts(running)
    if as_json:
        click.echo(json.dumps({**facts, "started": fresh}))
        return
    click.echo(f"{_titled(name)} {'is up' if fresh else 'was up already'}")
    _describe(facts)
    click.echo(f"Use it:    . {shlex.quote(str(facts['env_file']))}")
    click.echo(f"Call it:   voxtra lab call{_option(name)}")
    click.echo(f"End it:    voxtra lab down{_option(name)}")


@lab.command()
@_name
@click.option("--all", "every", is_flag=True, help="All labs.")
@_json
def down(name: str, every: bool, as_json: bool) -> None:
    """Stop a lab and remove its recordings."""
    ended = state.names() if every else [name]
    for each in ended:
        state.down(each)
    if as_json:
        click.echo(json.dumps({"down": ended}))
    else:
        click.echo("\n".join(f"{_titled(each)} is down" for each in ended) or "there is no lab")


@lab.command()
@_json
def status(as_json: bool) -> None:
    """Show the labs and how to reach them."""
    found = [_facts(state.find(name)) for name in state.names()]
    if as_json:
        click.echo(json.dumps(found))
        return
    if not found:
        click.echo("There is no lab. Start one: voxtra lab up")
    for facts in found:
        state_of_it = "is up" if facts["running"] else "is DOWN (it crashed)"
        click.echo(f"{_titled(facts['name'])} {state_of_it}")
        _describe(facts)
        click.echo(
            f"Use it:    . {shlex.quote(str(facts['env_file']))}   (sets VOXTRA_ARI_URL and so on)"
        )


@lab.command()
@_name
@click.option("--to", default="1000", show_default=True, help="The extension to call.")
@click.option(
    "--say", default="tone:440", show_default=True, help="tone:HERTZ, silence or say:TEXT."
)
@click.option(
    "--for",
    "seconds",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Seconds.",
)
@click.option("--app", default="voxtra", show_default=True, help="The Stasis application.")
@click.option("--caller", default="+15550100", show_default=True, help="The caller's number.")
@_json
def call(
    *, name: str, to: str, say: str, seconds: float, app: str, caller: str, as_json: bool
) -> None:
    """Place a call without a phone.

    It returns when the call is over; Ctrl-C hangs up. Exit code 1 when it was not answered.
    """
    target = _running(name)
    sound.check(say)
    if not as_json:
        click.echo(f"calling {to} as {caller}, saying {say} for {seconds:g} s; Ctrl-C hangs up")
    ended = asyncio.run(place_call(target, to=to, say=say, seconds=seconds, app=app, caller=caller))
    if as_json:
        click.echo(json.dumps(asdict(ended)))
    elif ended.answered:
        click.echo(f"answered, ended after {ended.seconds:.1f} s{_why(ended.cause)}")
    elif ended.cause == _NO_APPLICATION:
        click.echo(
            f"not answered: no application {app!r} is connected to {_titled(name)}; "
            "start your app first"
        )
    else:
        click.echo(f"not answered{_why(ended.cause)}")
    if not ended.answered:
        raise click.exceptions.Exit(1)


@lab.command()
@_name
@click.option(
    "-n", "lines", default=20, show_default=True, type=click.IntRange(min=1), help="Lines."
)
@click.option("--follow", is_flag=True, help="Go on with what is written from now.")
@_json
def logs(name: str, lines: int, follow: bool, as_json: bool) -> None:
    """Show the last lines of Asterisk's log."""
    target = state.find(name)
    position = target.log_file.stat().st_size if target.log_file.exists() else 0
    for line in target.log_tail(lines):
        _line(line, as_json)
    if follow:
        for line in _written_after(target.log_file, position, target):
            _line(line, as_json)


def _running(name: str) -> Lab:
    found = state.find(name)
    if not found.is_running:
        raise click.ClickException(
            f"{_titled(name)} is not running; start it with: voxtra lab up{_option(name)}"
        )
    return found


def _facts(found: Lab) -> dict[str, Any]:
    """Return what may be shown of a lab: all but the passwords."""
    return {
        "name": found.name,
        "running": found.is_running,
        "ari_url": found.ari_url,
        "ari_user": found.ari_user,
        "sip": f"127.0.0.1:{found.sip_port}",
        "pid": found.pid,
        "recordings": str(found.recording_dir),
        "env_file": str(state.env_file(found)),
    }


def _describe(facts: dict[str, Any]) -> None:
    click.echo(
        f"ARI:       {facts['ari_url']}  user {facts['ari_user']}, password in {facts['env_file']}"
    )
    click.echo(f"SIP:       {facts['sip']} (UDP), any number, no password")
    click.echo(f"Records:   {facts['recordings']}")


def _why(cause: int) -> str:
    return f" (cause {cause})" if cause else ""


def _titled(name: str) -> str:
    """Name a lab; the usual one is just the lab."""
    return "the lab" if name == "lab" else f"lab {name}"


def _option(name: str) -> str:
    return "" if name == "lab" else f" --name {name}"


def _line(line: str, as_json: bool) -> None:
    click.echo(json.dumps({"line": line}) if as_json else line)


def _written_after(path: Path, position: int, target: Lab) -> Iterator[str]:
    """Yield the lines that are appended to the log, until the lab ends."""
    rest = ""
    while True:
        running = target.is_running
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as file:
                file.seek(position)
                rest += file.read()
                position = file.tell()
        *whole, rest = rest.split("\n")
        yield from whole
        if not running:
            return
        time.sleep(0.2)
