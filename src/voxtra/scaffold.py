"""A new app that runs: what `voxtra init` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from voxtra.exceptions import ConfigurationError

__all__ = ["FILES", "scaffold"]

_CONFIG: Final = """\
# The dialplan sends calls here with: exten => _X.,1,Stasis(voxtra)
app_name: voxtra

telephony:
  asterisk:
    base_url: ${VOXTRA_ARI_URL:-http://localhost:8088}
    username: ${VOXTRA_ARI_USER:-asterisk}
    password: ${VOXTRA_ARI_PASSWORD}
    # Asterisk's recording folder as this machine sees it.
    recording_dir: ${VOXTRA_RECORDING_DIR:-/var/spool/asterisk/recording}

recording:
  layout: stereo   # the caller left, what the caller hears right; or mono

routes:
  - number: "*"    # every call; or extension: "1000", or number: "+15550100"
    handler: app:answer

# backend:
#   webhook:       # every event of every call is posted there
#     url: https://example.com/voxtra
#     signing_secret: ${WEBHOOK_SECRET}
"""

_APP: Final = '''\
"""The handlers that voxtra.yaml names."""

from __future__ import annotations

import logging

from voxtra import CallSession

log = logging.getLogger(__name__)


async def answer(call: CallSession) -> None:
    """Greet the caller and record the call."""
    await call.answer()
    name = await call.record_start()
    log.info("%s calls %s, recorded as %s", call.caller_id, call.called_number, name)
    await call.play_file("hello-world")
    digit = await call.listen_dtmf(timeout=5)
    log.info("the caller pressed %s", digit or "nothing")
    await call.play_file("vm-goodbye")
    await call.hangup()
'''

_ENVIRONMENT: Final = """\
# Copy to .env, fill in, and load with: set -a; . ./.env; set +a
VOXTRA_ARI_URL=http://localhost:8088
VOXTRA_ARI_USER=asterisk
VOXTRA_ARI_PASSWORD=
VOXTRA_RECORDING_DIR=/var/spool/asterisk/recording
"""

_README: Final = """\
# A Voxtra app

`app.py` has the handler of a call, `voxtra.yaml` says which calls it gets and where Asterisk is.

With your own Asterisk (20 or later; a user in `ari.conf`, and a dialplan line `Stasis(voxtra)`):

    cp .env.example .env             # then fill it in
    set -a; . ./.env; set +a
    voxtra check                     # reaches Asterisk, and makes a short test recording
    voxtra start                     # Ctrl-C ends it

Without one, `voxtra lab up` starts a disposable Asterisk on this machine and says how to use it.
Then, while `voxtra start` runs, call it from another terminal:

    voxtra lab call --to 1000
"""

FILES: Final = {
    "voxtra.yaml": _CONFIG,
    "app.py": _APP,
    ".env.example": _ENVIRONMENT,
    ".gitignore": ".env\n__pycache__/\n",
    "README.md": _README,
}
"""The files of a new app: names and contents."""


def scaffold(folder: Path) -> list[Path]:
    """Write a new app into `folder`, which is made when it does not exist; return its files.

    Raises ConfigurationError when one of the files exists already, before anything is written, and
    when the folder can't be written.
    """
    paths = [folder / name for name in FILES]
    for path in paths:
        if path.exists() or path.is_symlink():
            raise ConfigurationError(
                f"{path} exists already", fix="Give another folder, or move the file away"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            with path.open("x", encoding="utf-8") as file:
                file.write(FILES[path.name])
    except OSError as error:
        raise ConfigurationError(
            f"{folder}: can't be written: {error.strerror}", fix="Give another folder"
        ) from error
    return paths
