"""Asterisk's configuration files for one lab."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from voxtra.lab import sound
from voxtra.lab.errors import LabError
from voxtra.lab.install import Asterisk

__all__ = ["HOLD_HZ", "Outbound", "Settings", "write"]

HOLD_HZ = 523
"""Frequency of the lab's hold music, for tests that listen for it."""

# Every name that exists in the module folder is loaded; 0.33 s to boot instead of 0.51 s with all
# of them, and nothing listens that the lab does not use.
_MODULES = """
    pbx_config res_timing_timerfd res_sorcery_* res_http_websocket res_websocket_client
    res_http_media_cache res_curl res_stasis res_stasis_answer res_stasis_playback
    res_stasis_recording res_stasis_snoop res_stasis_device_state res_stasis_broadcast res_ari
    res_ari_* app_stasis app_stasis_broadcast app_playback app_playtones app_echo app_dial
    app_senddtmf app_chanspy app_mixmonitor app_verbose app_stack bridge_simple bridge_softmix
    bridge_holding bridge_native_rtp bridge_builtin_features chan_bridge_media chan_pjsip
    chan_rtp chan_audiosocket chan_websocket res_audiosocket res_rtp_asterisk
    res_rtp_multicast res_pjproject res_pjsip res_pjsip_session res_pjsip_sdp_rtp
    res_pjsip_caller_id res_pjsip_dtmf_info res_pjsip_endpoint_identifier_*
    res_pjsip_authenticator_digest res_pjsip_registrar res_pjsip_refer res_pjsip_rfc3326
    res_pjsip_pubsub res_pjsip_mwi res_pjsip_mwi_body_generator res_pjsip_nat
    res_pjsip_header_funcs res_musiconhold codec_ulaw codec_alaw codec_a_mu codec_gsm
    codec_g722 codec_g726 codec_adpcm codec_resample codec_opus* format_* res_format_attr_opus
    func_channel func_callerid func_talkdetect func_uri func_strings func_logic func_math
    func_cut func_groupcount func_periodic_hook func_pjsip_endpoint func_pjsip_contact
    func_pjsip_aor func_timeout func_global func_hangupcause
"""

_EXTENSIONS = files("voxtra.lab").joinpath("extensions.conf")

_INDICATIONS = """
[general]
country=us
[us]
description=United States
ringcadence=2000,4000
dial=350+440
busy=480+620/500,0/500
ring=440+480/2000,0/4000
congestion=480+620/250,0/250
callwaiting=440/300,0/10000
[fr]
description=France
ringcadence=1500,3500
dial=440
busy=440/500,0/500
ring=440/1500,0/3500
congestion=440/250,0/250
callwaiting=440/300,0/10000
[de]
description=Germany
ringcadence=1000,4000
dial=425
busy=425/480,0/480
ring=425/1000,0/4000
congestion=425/240,0/240
callwaiting=425/200,0/200,425/200,0/5000
[uk]
description=United Kingdom
ringcadence=400,200,400,2000
dial=350+440
busy=400/375,0/375
ring=400+450/400,0/200,400+450/400,0/2000
congestion=400/400,0/350,400/225,0/525
callwaiting=400/100,0/4000
"""


@dataclass(frozen=True, slots=True)
class Outbound:
    """A websocket that Asterisk opens to us and keeps open, queueing events while we are away.

    `uri` is "ws://host:port/path", `apps` the Stasis applications it serves; `user` and `password`
    are what Asterisk sends for HTTP basic authentication (none when empty).
    """

    uri: str
    apps: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the configuration files of one lab depend on."""

    name: str
    folder: Path
    http_port: int
    sip_port: int
    rtp_ports: tuple[int, int]
    user: str
    password: str = field(repr=False)
    reader: str
    reader_password: str = field(repr=False)
    outbound: Outbound | None = None
    ari_transfers: bool = False


def write(asterisk: Asterisk, settings: Settings, additions: Mapping[str, str]) -> None:
    """Make the lab's folders and write its configuration files, readable by their owner alone.

    `additions` maps a file name ("pjsip.conf") to text that is appended to it; a section that
    exists already is extended with `[section](+)`. Raises LabError when a name is no plain
    configuration file name.
    """
    folder = settings.folder
    for name in (
        "etc",
        "lib",
        "run",
        "log",
        "spool/recording",
        "data/sounds/lab",
        "data/moh",
        "cache",
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("documentation", "rest-api"):
        _link(folder / "data" / name, asterisk.data / name)
    _link(folder / "data/sounds/en", asterisk.sounds)
    sound.write(f"tone:{HOLD_HZ}", folder / "data/moh/hold.wav", seconds=10)
    contents = {
        "asterisk.conf": _asterisk_conf(asterisk, settings),
        "modules.conf": _modules_conf(asterisk),
        "logger.conf": _section("general", dateformat="%F %T.%3q")
        + _section("logfiles", messages="notice,warning,error"),
        "http.conf": _section(
            "general",
            enabled="yes",
            bindaddr="127.0.0.1",
            bindport=settings.http_port,
            sessionlimit=5000,
            session_keep_alive=60000,
        ),
        "ari.conf": _ari_conf(settings),
        "websocket_client.conf": _websocket_client_conf(settings.outbound),
        "chan_websocket.conf": _section("global", control_message_format="json"),
        "rtp.conf": _section(
            "general",
            rtpstart=settings.rtp_ports[0],
            rtpend=settings.rtp_ports[1],
        ),
        "pjsip.conf": _pjsip_conf(settings),
        "musiconhold.conf": _section("default", mode="files", directory=folder / "data/moh"),
        "indications.conf": _INDICATIONS,
        "extensions.conf": _EXTENSIONS.read_text(encoding="utf-8"),
        "cdr.conf": _section("general", enable="no"),
        "cel.conf": _section("general", enable="no"),
        "acl.conf": "",
        "manager.conf": _section("general", enabled="no"),
    }
    # Empty ones say "the defaults", in place of an error in the log.
    for name in ("ccss", "features", "pjproject", "res_http_media_cache", "udptl"):
        contents[f"{name}.conf"] = "[general]\n"
    for name, text in additions.items():
        if Path(name).name != name or not name.endswith(".conf"):
            msg = f"config {name!r}: give the name of a configuration file, such as pjsip.conf"
            raise LabError(msg)
        contents[name] = contents.get(name, "") + "\n" + text + "\n"
    for name, text in contents.items():
        path = folder / "etc" / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")


def _asterisk_conf(asterisk: Asterisk, settings: Settings) -> str:
    folder = settings.folder
    directories = {
        "astetcdir": folder / "etc",
        "astmoddir": asterisk.modules,
        "astvarlibdir": folder / "lib",
        "astdbdir": folder / "lib",
        "astkeydir": folder / "lib",
        "astagidir": folder / "lib",
        "astdatadir": folder / "data",
        "astcachedir": folder / "cache",
        "astspooldir": folder / "spool",
        "astrundir": folder / "run",
        "astlogdir": folder / "log",
    }
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = 65536 if hard_limit == resource.RLIM_INFINITY else min(hard_limit, 65536)
    lines = ["[directories]", *(f"{key} => {path}" for key, path in directories.items())]
    options = _section(
        "options",
        verbose=0,
        nocolor="yes",
        # Begins every channel id that Asterisk chooses, so that two labs never share one.
        systemname=f"{settings.name}-{settings.http_port}",
        maxfiles=most,
    )
    return "\n".join(lines) + "\n" + options


def _modules_conf(asterisk: Asterisk) -> str:
    names: dict[str, None] = {}
    for pattern in _MODULES.split():
        names.update(
            dict.fromkeys(sorted(path.name for path in asterisk.modules.glob(f"{pattern}.so")))
        )
    return "[modules]\nautoload=no\n" + "".join(f"load => {name}\n" for name in names)


def _ari_conf(settings: Settings) -> str:
    text = _section("general", enabled="yes", websocket_write_timeout=2000)
    text += _section(settings.user, type="user", password=settings.password)
    text += _section(
        settings.reader, type="user", password=settings.reader_password, read_only="yes"
    )
    if settings.outbound is not None:
        text += _section(
            "lab-outbound",
            type="outbound_websocket",
            websocket_client_id="lab-outbound",
            apps=",".join(settings.outbound.apps),
            local_ari_user=settings.user,
        )
    return text


def _websocket_client_conf(outbound: Outbound | None) -> str:
    if outbound is None:
        return ""
    login: dict[str, object] = {}
    if outbound.user:
        login = {"username": outbound.user, "password": outbound.password}
    return _section(
        "lab-outbound",
        type="websocket_client",
        uri=outbound.uri,
        protocols="ari",
        connection_type="persistent",
        connection_timeout=500,
        reconnect_interval=500,
        **login,
    )


def _pjsip_conf(settings: Settings) -> str:
    endpoint: dict[str, object] = {
        "type": "endpoint",
        "transport": "loopback",
        "context": "default",
        "disallow": "all",
        "allow": "ulaw,alaw",
        "direct_media": "no",
        "media_address": "127.0.0.1",
        "bind_rtp_to_media_address": "yes",
    }
    if settings.ari_transfers:
        endpoint["set_var"] = "PJSIP_TRANSFER_HANDLING()=ari-only"
    text = _section("global", type="global", user_agent="voxtra-lab")
    text += _section(
        "loopback", type="transport", protocol="udp", bind=f"127.0.0.1:{settings.sip_port}"
    )
    # Anybody on loopback is "anonymous"; a phone that calls as phone-a or phone-b is that endpoint,
    # and may register. All can be dialled at a given place: PJSIP/phone-a/sip:1000@127.0.0.1:5062.
    text += _section("anonymous", **endpoint)
    for phone in ("phone-a", "phone-b"):
        text += _section(phone, **endpoint, aors=phone)
        text += _section(phone, type="aor", max_contacts=10)
    return text


def _section(title: str, /, **values: object) -> str:
    return "\n".join([f"[{title}]", *(f"{key}={value}" for key, value in values.items())]) + "\n"


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)
