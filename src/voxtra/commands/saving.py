"""A file that is there as a whole, or not at all, and in the place of no other."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import click

from voxtra.blobs.local import cause_of
from voxtra.ids import new_id

__all__ = ["check_free", "saved"]

_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems without hard links answer; memory sticks have such."""


def check_free(target: Path, *, force: bool) -> None:
    """Raise `click.ClickException` when a file would be overwritten."""
    if target.exists() and not force:
        raise _taken(target)


@contextmanager
def saved(target: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Give a file to write to, which is `target` when the block has ended without an error.

    Nothing is left otherwise. Raises `click.ClickException`, also for what the block meets on the
    disk.
    """
    check_free(target, force=force)
    part = target.with_name(f"{target.name[:200]}.{new_id()[-8:]}.part")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(part, flags, 0o640), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _publish(part, target, force=force)
    except OSError as error:
        raise click.ClickException(f"{target}: {cause_of(error)}") from error
    finally:
        part.unlink(missing_ok=True)


def _publish(part: Path, target: Path, *, force: bool) -> None:
    if not force:
        try:
            os.link(part, target)
        except FileExistsError:
            raise _taken(target) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            check_free(target, force=False)
        else:
            return
    part.replace(target)


def _taken(target: Path) -> click.ClickException:
    return click.ClickException(
        f"{target} exists already; name another file with -o, or add --force to replace it"
    )
