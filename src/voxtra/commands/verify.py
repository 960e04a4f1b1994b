"""The command `voxtra recordings verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from voxtra.commands import options
from voxtra.commands.opened import Opened, opened, run
from voxtra.commands.show import print_json, progress, say
from voxtra.commands.text import sized
from voxtra.service.verify import Finding, Stock, Verifier

__all__ = ["verify"]


@click.command()
@options.config
@click.argument("recording_ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--all", "everything", is_flag=True, help="All recordings, and all blobs that no row names."
)
@options.json_object
def verify(path: Path, recording_ids: tuple[str, ...], *, everything: bool, as_json: bool) -> None:
    """Read stored recordings back, and compare length and SHA-256 with their rows.

    Of all tenants; nothing is changed. What is wrong is told with its cause and what to do, and the
    exit code is 1 then.
    """
    if bool(recording_ids) == everything:
        raise click.UsageError("Name recordings by id, or all of them by --all.")

    async def work() -> int:
        async with opened(path) as at:
            seen, found = await (_all(at) if everything else _named(at, recording_ids))
        if as_json:
            findings = [asdict(each) for each in found]
            print_json({"ok": not found, "recordings": seen.recordings, "findings": findings})
        else:
            _tell(seen, found)
        return 1 if found else 0

    run(work)


async def _named(at: Opened, recording_ids: tuple[str, ...]) -> tuple[Stock, list[Finding]]:
    found = []
    rows = await Verifier(at.database, at.blobs).named(list(dict.fromkeys(recording_ids)))
    total = Stock(len(rows), sum(row.size or 0 for row in rows))
    with progress("reading", total.size, size=True) as bar:
        verifier = Verifier(at.database, at.blobs, bar.advance)
        for row in rows:
            found += await verifier.check(row)
    return total, found


async def _all(at: Opened) -> tuple[Stock, list[Finding]]:
    found, count, size = [], 0, 0
    total = await Verifier(at.database, at.blobs).stock()
    with progress("reading", total.size, size=True) as bar:
        verifier = Verifier(at.database, at.blobs, bar.advance)
        async for row in verifier.every():
            found += await verifier.check(row)
            count, size = count + 1, size + (row.size or 0)
    with progress("looking for what no row names", None) as bar:
        async for stray in verifier.strays():
            found.append(stray)
            bar.advance(1)
    return Stock(count, size), found


def _tell(seen: Stock, found: list[Finding]) -> None:
    for each in found:
        say(f"{each.fault.upper():<11}{each.recording_id or each.key}: {each.cause}")
        if each.recording_id and each.key:
            say(f"{'':<11}{each.key}")
        say(f"{'':<11}{each.fix}")
    count = f"{seen.recordings} recording{'' if seen.recordings == 1 else 's'}"
    wrong = f"{len(found)} fault{'' if len(found) == 1 else 's'}" if found else "all is as it was"
    say(f"{count}, {sized(seen.size)}: {wrong}")
