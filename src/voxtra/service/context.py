"""What every part of the service is given: one value, made by the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from voxtra.blobs.base import BlobStore
from voxtra.config import VoxtraConfig
from voxtra.record_options import RecordOptions
from voxtra.service.disk import DiskWatch
from voxtra.service.files import AudioFiles
from voxtra.store.database import Database
from voxtra.store.schema import utc_now

__all__ = ["Control", "Service"]


class Control(Protocol):
    """What can be done to calls and conferences, wherever they are: here or in another node.

    A holder is a call or a conference. Unknown ids, and those of other tenants, raise `UnknownCall`
    or `UnknownConference`; a call that is over `CallEnded`.
    """

    @property
    def connected(self) -> bool | None:
        """Whether the PBX is connected; None where this process has none."""
        ...

    async def start_recording(self, tenant_id: str, holder_id: str, options: RecordOptions) -> str:
        """Record, and return the recording's id when it has begun. Raises `RecordingActive`."""
        ...

    async def stop_recording(self, tenant_id: str, holder_id: str) -> str:
        """Stop, and return the id when the PBX has finished. Raises `RecordingNotActive`."""
        ...

    async def pause_recording(self, tenant_id: str, holder_id: str, *, on: bool) -> str:
        """Pause or resume, and return the id. Raises `RecordingNotActive`."""
        ...

    async def hangup(self, tenant_id: str, call_id: str) -> None:
        """Hang up; one that is over already is a success."""
        ...

    async def originate(
        self,
        tenant_id: str,
        *,
        endpoint: str,
        caller_id: str = "",
        timeout: float = 30.0,
        extension: str = "",
        variables: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> str:
        """Call somebody and return the call's id at once; `extension` names the route whose handler
        serves the call when it is answered.
        """
        ...

    async def create_conference(
        self, tenant_id: str, *, name: str = "", metadata: dict[str, Any] | None = None
    ) -> str:
        """Make a conference and return its id; it lasts until it is ended."""
        ...

    async def end_conference(self, tenant_id: str, conference_id: str) -> None:
        """End a conference: its recording is finished, its participants go on by themselves."""
        ...

    async def add_participant(self, tenant_id: str, conference_id: str, call_id: str) -> None:
        """Put a call into a conference."""
        ...

    async def remove_participant(self, tenant_id: str, conference_id: str, call_id: str) -> None:
        """Take a call out of a conference; one that is not in it is a success."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the service: what it works with, and the time.

    `node` is its name among the processes that share the database, `data_dir` a folder of its own
    for what can be made again (rendered audio, work files); `audio` gives recordings in any format,
    and `disk` knows how full the disks are.
    """

    config: VoxtraConfig
    database: Database
    blobs: BlobStore
    audio: AudioFiles
    control: Control
    node: str
    data_dir: Path
    clock: Callable[[], datetime] = utc_now
    disk: DiskWatch = field(default_factory=lambda: DiskWatch({}, (80.0, 90.0, 95.0)))
