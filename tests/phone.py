"""A real SIP phone: SIPp, which does what a scenario says, and fails on anything else."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from voxtra.audio.g711 import encode_mulaw
from voxtra.audio.tone import sine
from voxtra.lab.sound import LEVEL

NUMBER: Final = "+15550177"
"""Who the phone says it is."""

DEADLINE: Final = 15
"""Seconds in which a scenario has to be through."""

_DIALOG: Final = """
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:{number}@[local_ip]:[local_port]>;tag=[pid]-[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: {cseq}
Contact: <sip:{number}@[local_ip]:[local_port]>
Max-Forwards: 70"""

_ANSWER: Final = """
[last_Via:]
[last_From:]
[last_To:];tag=[pid]-[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>"""

_MEDIA: Final = """
Content-Type: application/sdp
Content-Length: [len]

v=0
o=phone 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000"""

_EMPTY: Final = """
Content-Length: 0

"""


def _send(line: str, headers: str, rest: str = _EMPTY, *, again: bool = True) -> str:
    """Send a message, if need be `again` until it is answered."""
    retrans = ' retrans="500"' if again else ""
    return f"<send{retrans}><![CDATA[\n{line}{headers}{rest}\n]]></send>"


def _request(method: str, cseq: int, rest: str = _EMPTY) -> str:
    line = f"{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0"
    dialog = _DIALOG.format(number=NUMBER, cseq=f"{cseq} {method}")
    return _send(line, dialog, rest, again=method != "ACK")


def _comes(what: str, *, maybe: bool = False, then: str = "") -> str:
    kind = "response" if what.isdigit() else "request"
    optional = ' optional="true"' if maybe else ""
    return f'<recv {kind}="{what}"{optional}>{then}</recv>'


def answer(status: str, rest: str = _EMPTY) -> str:
    """Answer the last request, for example with "486 Busy Here"."""
    return _send(f"SIP/2.0 {status}", _ANSWER, rest, again=rest == _MEDIA)


def pause(seconds: float) -> str:
    """Go on talking for that time."""
    return f'<pause milliseconds="{round(seconds * 1000)}"/>'


CALL: Final = (
    _request("INVITE", 1, _MEDIA)
    + _comes("100", maybe=True)
    + _comes("180", maybe=True)
    + _comes("183", maybe=True)
    + _comes("200")
    + _request("ACK", 1)
)
"""Call a number and wait for the answer."""

HANG_UP: Final = _request("BYE", 3) + _comes("200")
"""Hang up the call that the phone has made."""

IS_HUNG_UP: Final = _comes("BYE") + answer("200 OK")
"""Wait until the other side hangs up."""


ANSWERS: Final = _comes("INVITE") + answer("200 OK", _MEDIA) + _comes("ACK")
"""Wait for a call, and answer it."""

IS_GIVEN_UP: Final = (
    _comes(
        "INVITE",
        then='<action><ereg regexp=".*" search_in="hdr" header="CSeq:" assign_to="cseq"/></action>',
    )
    + answer("180 Ringing")
    + _comes("CANCEL")
    + answer("200 OK")
    + _send(
        "SIP/2.0 487 Request Terminated",
        _ANSWER.replace("[last_CSeq:]", "CSeq:[$cseq]"),
    )
    + _comes("ACK")
)
"""Ring until the caller gives up."""


def press(digit: str) -> str:
    """Press a key, which is told in an INFO message."""
    body = f"""
Content-Type: application/dtmf-relay
Content-Length: [len]

Signal={digit}
Duration=160"""
    return _request("INFO", 2, body) + _comes("200")


def refuse(status: str) -> str:
    """Refuse a call."""
    return _comes("INVITE") + answer(status) + _comes("ACK")


@contextlib.asynccontextmanager
async def run_phone(
    folder: Path, port: int, *steps: str, calls: str = "", number: str = "1000"
) -> AsyncIterator[asyncio.Task[str]]:
    """Run a phone on a UDP port of loopback; give the task that ends when it is through.

    `calls` is where `number` is called ("127.0.0.1:5060"); without it the phone waits for a call.
    The task returns what went wrong, "" if all went as the steps say. A phone that is still busy at
    the end is killed.
    """
    program = shutil.which("sipp")
    assert program is not None, "SIPp is missing: apt-get install sip-tester"
    script = folder / f"phone-{port}.xml"
    script.write_text(
        '<?xml version="1.0" encoding="UTF-8" ?>\n'
        f'<scenario name="phone">{"".join(steps)}</scenario>\n',
        encoding="utf-8",
    )
    process = await asyncio.create_subprocess_exec(
        program,
        *([calls, "-s", number] if calls else []),
        *("-sf", str(script)),
        *("-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", str(port)),
        *("-m", "1", "-nostdin", "-timeout", str(DEADLINE), "-timeout_error"),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )

    async def through() -> str:
        _, said = await process.communicate()
        return "" if process.returncode == 0 else f"{process.returncode}: {said.decode()}"

    task = asyncio.create_task(through())
    try:
        yield task
    finally:
        if process.returncode is None:
            process.kill()
        await task


def talk(folder: Path, hertz: int) -> str:
    """Say a tone from now on."""
    path = folder / f"{hertz}.ulaw"
    path.write_bytes(encode_mulaw(sine(hertz, 1.0, level_dbfs=LEVEL)))
    return f'<nop><action><exec rtp_stream="{path},-1,0"/></action></nop>'
