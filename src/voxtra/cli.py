"""The command `voxtra`.

Exit codes: 0 done; 1 done, but the answer is no (a check failed, a call was not answered); 2 it
could not be done, and one line on standard error says why and what to do; 130 interrupted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from voxtra.app import VoxtraApp
from voxtra.ari import ARIClient
from voxtra.audio.formats import FORMATS
from voxtra.commands import options
from voxtra.commands.text import printable
from voxtra.config import VoxtraConfig
from voxtra.exceptions import ConfigurationError, VoxtraError
from voxtra.ids import own_id
from voxtra.preflight import NEWEST_TESTED, OLDEST_SUPPORTED, Check, run_checks
from voxtra.registry import registry
from voxtra.scaffold import scaffold
from voxtra.version import __version__

__all__ = ["cli", "main"]

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        code = cli.main(args=argv, prog_name="voxtra", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:  # `voxtra lab`
        click.echo(error.format_message())
        return 0
    except click.Abort:
        return EXIT_INTERRUPTED
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "voxtra"
        _complain(f"{error.format_message()} See `{where} --help`.")
        return EXIT_ERROR
    except click.ClickException as error:
        _complain(error.format_message())
        return EXIT_ERROR
    except VoxtraError as error:
        _complain(str(error))
        return EXIT_ERROR
    return code if isinstance(code, int) else 0


def _complain(problem: str) -> None:
    """Print an error on one line; what others have chosen may be in it."""
    click.echo(f"Error: {printable(problem)}", err=True)


_ELSEWHERE: Final = {
    "deliveries": "voxtra.commands.deliveries",
    "keys": "voxtra.commands.keys",
    "migrate": "voxtra.commands.migrate",
    "recordings": "voxtra.commands.recordings",
    "retention": "voxtra.commands.retention",
    "lab": "voxtra.lab.commands",
}
"""Commands that are imported when they are asked for, each from the module that has it by its name:
nothing else needs a database, or the lab.
"""


class _Cli(click.Group):
    """Imports what is in `_ELSEWHERE` only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            command: click.Command = getattr(import_module(_ELSEWHERE[cmd_name]), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(
    cls=_Cli,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="voxtra %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Serve and record phone calls on Asterisk."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@cli.command()
@options.config
@click.option("--debug", is_flag=True, help="Log every event.")
@options.json_object
def start(path: Path, *, debug: bool, as_json: bool) -> None:
    """Serve calls until Ctrl-C or SIGTERM.

    Asterisk need not be there yet: the connection is tried again until it is. A refused user or
    password is an error. With --json the object is printed when calls are being served.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    config, app = _load(path)
    app.debug = app.debug or debug

    @app.on_startup
    async def ready() -> None:
        if as_json:
            serving = {"app_name": app.app_name, "routes": len(config.routes), "pid": os.getpid()}
            click.echo(json.dumps(serving))
        else:
            click.echo(f"serving calls as {app.app_name!r}; Ctrl-C ends it")

    app.run()


@cli.command()
@options.config
@click.option("--debug", is_flag=True, help="Log every event.")
@options.json_object
def serve(path: Path, *, debug: bool, as_json: bool) -> None:
    """Serve calls, keep their recordings, answer the REST API.

    Until Ctrl-C or SIGTERM. An empty database gets its tables at the first start; the
    administrator's key is then in the file admin.key of the data folder. With --json logs are JSON,
    and one object is printed when the API answers.
    """
    config = _service(path, debug=debug, as_json=as_json)

    def ready(url: str) -> None:
        if as_json:
            click.echo(json.dumps({"url": url, "pid": os.getpid()}))
        else:
            click.echo(f"the API answers at {url}/v1.0; Ctrl-C ends it")

    _run(import_module("voxtra.web.server").serve(config, ready))


@cli.command()
@options.config
@click.option("--debug", is_flag=True, help="Log every event.")
@options.json_object
def worker(path: Path, *, debug: bool, as_json: bool) -> None:
    """Do jobs and deliveries of the service, without calls and API.

    Until Ctrl-C or SIGTERM. Any number of workers may share a database with `voxtra serve`.
    """
    config = _service(path, debug=debug, as_json=as_json)

    def ready() -> None:
        click.echo(json.dumps({"pid": os.getpid()}) if as_json else "working; Ctrl-C ends it")

    _run(import_module("voxtra.web.server").work(config, ready))


@cli.command()
@options.config
@options.json_object
@click.pass_context
def check(ctx: click.Context, path: Path, *, as_json: bool) -> None:
    """Check the configuration and Asterisk.

    A recording of a quarter of a second shows whether Asterisk can do what is needed. Exit code 1
    when a check fails; 2 when the configuration is wrong or Asterisk can't be reached.
    """
    config, _ = _load(path)
    count = len(config.routes)
    routes = f"{path}: {count} route{'s' if count > 1 else ''}"
    found = [Check("config", True, routes), *_examine(config)]
    good = all(one.ok for one in found)
    if as_json:
        click.echo(json.dumps({"ok": good, "checks": [asdict(one) for one in found]}))
    else:
        _show(found)
    if not good:
        ctx.exit(1)


@cli.command()
@options.json_object
def info(*, as_json: bool) -> None:
    """Show version, providers and formats."""
    facts = {
        "version": __version__,
        "python": platform.python_version(),
        "asterisk": f"{OLDEST_SUPPORTED} or later, tested up to {NEWEST_TESTED}",
        "providers": registry.list_all(),
        "formats": sorted({one.canonical for one in FORMATS.values()}),
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(f"voxtra     {facts['version']}")
    click.echo(f"python     {facts['python']}")
    click.echo(f"asterisk   {facts['asterisk']}")
    click.echo(f"formats    {' '.join(facts['formats'])}")
    for kind, names in registry.list_all().items():
        click.echo(f"{kind:<10} {' '.join(names) or '-'}")


@cli.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@options.json_object
def init(folder: Path, *, as_json: bool) -> None:
    """Write a new app that runs.

    Its files go into FOLDER (default: this one); nothing is overwritten.
    """
    written = scaffold(folder)
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "files": [path.name for path in written]}))
        return
    for path in written:
        click.echo(f"wrote {path}")
    click.echo(f"Next: read {folder / 'README.md'}")


def _service(path: Path, *, debug: bool, as_json: bool) -> VoxtraConfig:
    """Read the configuration of a service, whose handlers are beside the file; set up its log."""
    sys.path.insert(0, str(path.absolute().parent))
    config = VoxtraConfig.from_yaml(path)
    logs = import_module("voxtra.web.logs")
    logs.configure(json=as_json, level="DEBUG" if debug or config.server.debug else "INFO")
    return config


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=import_module("uvloop").new_event_loop) as runner:
        runner.run(work)


def _load(path: Path) -> tuple[VoxtraConfig, VoxtraApp]:
    """Build the app of a file; its handlers are found beside the file."""
    sys.path.insert(0, str(path.absolute().parent))
    config = VoxtraConfig.from_yaml(path)
    app = VoxtraApp.from_config(config)
    if not config.routes:
        raise ConfigurationError(
            "there is none, so every call would be refused",
            field="routes",
            fix="Write for example: routes: [{number: '*', handler: 'app:answer'}]",
        )
    return config, app


def _examine(config: VoxtraConfig) -> list[Check]:
    provider = config.telephony.provider
    if provider != "asterisk":
        return [Check("pbx", True, f"there are no checks for the provider {provider!r}")]
    return asyncio.run(_examine_asterisk(config))


async def _examine_asterisk(config: VoxtraConfig) -> list[Check]:
    asterisk = config.telephony.asterisk
    client = ARIClient(
        asterisk.base_url,
        asterisk.username,
        asterisk.password,
        app_name=own_id("check"),  # under the app's own name it would take over from a running one
        timeout=asterisk.request_timeout,
    )
    async with client:
        return await run_checks(client, Path(asterisk.recording_dir))


def _show(checks: list[Check]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for one in checks:
        word, colour = ("ok", "green") if one.ok else ("FAILED", "red")
        if one.ok and one.fix:
            word, colour = "ok, but", "yellow"
        console.print(Text(f"{word:<8}", colour), Text(f"{one.name:<10} {one.detail}"))
        if one.fix:
            console.print(Text(f"{'':<9}{'':<11}{one.fix}", colour))
