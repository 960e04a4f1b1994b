"""What tests and calls need to know of a PBX: the lab's, or one of the user's own."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from voxtra.exceptions import ConfigurationError

__all__ = ["OwnPbx", "Pbx"]


class Pbx(Protocol):
    """An Asterisk with the lab's dialplan on this machine.

    A sound file `sounds_dir/x.wav` is played as `sounds_prefix` + "x".
    """

    @property
    def ari_url(self) -> str: ...  # noqa: D102  # said above
    @property
    def ari_user(self) -> str: ...  # noqa: D102  # said above
    @property
    def ari_password(self) -> str: ...  # noqa: D102  # said above
    @property
    def recording_dir(self) -> Path: ...  # noqa: D102  # said above
    @property
    def sip_port(self) -> int: ...  # noqa: D102  # said above
    @property
    def sounds_dir(self) -> Path: ...  # noqa: D102  # said above
    @property
    def sounds_prefix(self) -> str: ...  # noqa: D102  # said above


@dataclass(frozen=True, slots=True)
class OwnPbx:
    """An Asterisk of the user's own, which serves the tests instead of a lab.

    It runs on this machine, includes the lab's `extensions.conf`, has a PJSIP endpoint `anonymous`
    (on the port VOXTRA_TEST_SIP_PORT, or 5060) whose context is `default`, and its user can read
    our temporary folder.
    """

    ari_url: str
    ari_user: str
    ari_password: str = field(repr=False)
    recording_dir: Path
    sounds_dir: Path
    sip_port: int

    @property
    def sounds_prefix(self) -> str:
        """Asterisk plays a file of any folder when the whole path is given."""
        return f"{self.sounds_dir}/"

    @classmethod
    def from_environment(cls) -> OwnPbx | None:
        """Return the PBX that VOXTRA_TEST_ARI_URL and its companions name; None when not set.

        Raises ConfigurationError when a companion is missing or the recording folder does not
        exist.
        """
        url = os.environ.get("VOXTRA_TEST_ARI_URL", "")
        if not url:
            return None
        recordings = Path(_required("VOXTRA_TEST_RECORDING_DIR"))
        if not recordings.is_dir():
            raise ConfigurationError(
                f"{recordings} is no folder",
                field="VOXTRA_TEST_RECORDING_DIR",
                fix="Set it to the folder `recording` below astspooldir in asterisk.conf",
            )
        sip_port = os.environ.get("VOXTRA_TEST_SIP_PORT") or "5060"
        if not sip_port.isdecimal():
            raise ConfigurationError(
                f"{sip_port!r} is no port", field="VOXTRA_TEST_SIP_PORT", fix="Give a number"
            )
        sounds = Path(tempfile.mkdtemp(prefix="voxtra-sounds-"))
        sounds.chmod(0o755)
        return cls(
            url.rstrip("/"),
            _required("VOXTRA_TEST_ARI_USER"),
            _required("VOXTRA_TEST_ARI_PASSWORD"),
            recordings,
            sounds,
            int(sip_port),
        )


def _required(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise ConfigurationError(
            "not set", field=name, fix="It is needed beside VOXTRA_TEST_ARI_URL"
        )
    return value
