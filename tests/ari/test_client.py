"""Every verb against a real Asterisk."""

from __future__ import annotations

import asyncio
import inspect

import aiohttp
import pytest

from voxtra.ari import ARIClient
from voxtra.ari.schema import (
    BridgeDestroyed,
    Channel,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelEnteredBridge,
    ChannelLeftBridge,
    PlaybackFinished,
    PlaybackStarted,
    RecordingFinished,
    RecordingStarted,
    StasisEnd,
    StasisStart,
)
from voxtra.exceptions import (
    AuthenticationFailed,
    BadRequest,
    Conflict,
    Forbidden,
    InvalidRecordingName,
    NotFound,
    ServerError,
)
from voxtra.ids import own_id
from voxtra.lab.pbx import Pbx

from .calls import DEADLINE, call, eventually, gone, is_a, listening, record

ODD_NAMES = [
    "a/b c",
    "100%",
    "what?",
    "#1",
    "x&y=z",
    "quote'\"",
    "größe",
    "a;b",
    "-dash",
    ".dot",
    "v1.2",
]


def client_of(lab: Pbx) -> ARIClient:
    """Make a client of another Asterisk than the one that all tests share."""
    return ARIClient(lab.ari_url, lab.ari_user, lab.ari_password)


async def test_connect_returns_who_asterisk_is(fresh_lab):
    """The version of Asterisk is what its console says."""
    async with client_of(fresh_lab) as client:
        info = await client.connect()
    assert info.system is not None
    assert fresh_lab.cli("core show version").startswith(f"Asterisk {info.system.version}")


async def test_a_wrong_password_is_refused(lab):
    """The error names the user, not the password."""
    with pytest.raises(AuthenticationFailed, match=lab.ari_user) as no:
        await ARIClient(lab.ari_url, lab.ari_user, "wrong-one").connect()
    assert "wrong-one" not in str(no.value)


async def test_a_user_who_may_only_read_is_forbidden_to_act(fresh_lab):
    """The read-only user sees channels and can't make one."""
    user, password = fresh_lab.reader, fresh_lab.reader_password
    async with ARIClient(fresh_lab.ari_url, user, password) as client:
        assert await client.list_channels() == []
        with pytest.raises(Forbidden):
            await client.originate("Local/answer@lab-phone")


async def test_a_call_from_originate_to_hangup(client):
    """A channel is made with our id and variables, seen, and ended with our cause."""
    async with listening(client) as bus:
        channel_id = own_id("call")
        with bus.expect(channel_id) as inbox:
            made = await client.originate(
                "Local/answer@lab-phone/n",
                channel_id=channel_id,
                app_args="one,two words",
                caller_id='"Ada L" <1815>',
                formats="slin",
                variables={"SHOP": "a,b é"},
            )
            assert made.id == channel_id
            start = await inbox.wait_for(is_a(StasisStart), DEADLINE)
            assert isinstance(start, StasisStart)
            assert start.args == ["one", "two words"]
            assert start.application == client.app_name
            await client.answer_channel(channel_id)
            assert (await client.get_channel(channel_id)).state == "Up"
            assert channel_id in [channel.id for channel in await client.list_channels()]
            assert await client.get_channel_var(channel_id, "SHOP") == "a,b é"
            await client.set_channel_var(channel_id, "LONG", "x" * 6000)
            assert await client.get_channel_var(channel_id, "LONG") == "x" * 6000
            with pytest.raises(NotFound):
                await client.get_channel_var(channel_id, "NOT_SET")
            await client.hangup_channel(channel_id, reason_code=21)
            end = await inbox.wait_for(is_a(ChannelDestroyed), DEADLINE)
            assert isinstance(end, ChannelDestroyed)
            assert end.cause == 21
        with pytest.raises(NotFound):
            await client.hangup_channel(channel_id)


async def test_originate_into_the_dialplan(client, lab):
    """With a context the answered channel runs the dialplan and not our application."""
    channel_id = own_id("call")
    await client.originate(
        "Local/answer@lab-phone/n",
        context="lab-phone",
        extension="echo",
        channel_id=channel_id,
        formats="slin",
    )

    async def echoes() -> bool:
        channel: Channel = await client.get_channel(channel_id)
        return channel.dialplan.app_name == "Echo"

    await eventually(echoes)
    await client.hangup_channel(channel_id)


async def test_what_asterisk_can_not_call(client):
    """An unknown technology is a server error, no endpoint a bad request."""
    with pytest.raises(ServerError):
        await client.originate("Pigeon/home", channel_id=own_id("call"))
    with pytest.raises(BadRequest):
        await client.originate("", channel_id=own_id("call"))


async def test_create_then_dial(client):
    """A created channel is in the application before it is dialled."""
    async with listening(client) as bus:
        channel_id = own_id("call")
        with bus.expect(channel_id) as inbox:
            made = await client.create_channel(
                "Local/answer@lab-phone/n", channel_id=channel_id, formats="slin", app_args="x"
            )
            assert made.state == "Down"
            await inbox.wait_for(is_a(StasisStart), DEADLINE)
            await client.dial_channel(channel_id, timeout=5)
            async with asyncio.timeout(DEADLINE):
                while (await client.get_channel(channel_id)).state != "Up":
                    await inbox.get(DEADLINE)
            with pytest.raises(Conflict):
                await client.dial_channel(channel_id)
            await client.hangup_channel(channel_id)


async def test_moving_on(client):
    """A channel changes its application, and leaves for the dialplan."""
    async with listening(client) as bus, call(client, bus) as inbox:
        (channel_id,) = inbox.keys
        await client.move_channel(channel_id, client.app_name, app_args="again")
        start = await inbox.wait_for(is_a(StasisStart), DEADLINE)
        assert isinstance(start, StasisStart)
        assert start.args == ["again"]
        await client.continue_in_dialplan(channel_id, context="lab-phone", extension="answer")
        await inbox.wait_for(is_a(StasisEnd), DEADLINE)
        assert (await client.get_channel(channel_id)).id == channel_id


async def test_transfer_verbs_need_a_sip_channel(client):
    """Redirect and progress of a transfer reach Asterisk, which knows no transfer here."""
    async with listening(client) as bus, call(client, bus) as inbox:
        (channel_id,) = inbox.keys
        with pytest.raises(BadRequest):
            await client.redirect_channel(channel_id, "no-technology")
        with pytest.raises(BadRequest):
            await client.transfer_progress(channel_id, "channel_dancing")


async def test_what_is_heard_on_a_channel(client):
    """Ringing, music, hold, mute and silence begin and end, and need a channel that is there."""
    async with listening(client) as bus, call(client, bus) as inbox:
        for verb in (
            client.ring,
            client.ring_stop,
            client.moh_start,
            client.moh_stop,
            client.hold,
            client.unhold,
            client.mute,
            client.unmute,
            client.silence_start,
            client.silence_stop,
        ):
            await verb(inbox.keys[0])
            with pytest.raises(NotFound):
                await verb("nobody")


async def test_a_playback_runs_its_list(client):
    """A list is played item by item, commas within a URI included, and its end is told."""
    async with listening(client) as bus, call(client, bus, "answer") as inbox:
        (channel_id,) = inbox.keys
        playback_id = own_id("play")
        with bus.expect(playback_id) as events:
            queued = await client.play_on_channel(
                channel_id, ["tone:440/100,0/100", "sound:hello-world"], playback_id=playback_id
            )
            assert (queued.id, queued.next_media_uri) == (playback_id, "sound:hello-world")
            started = await events.wait_for(is_a(PlaybackStarted), DEADLINE)
            assert isinstance(started, PlaybackStarted)
            assert started.playback.media_uri == "tone:440/100,0/100"
            assert (await client.get_playback(playback_id)).state == "playing"
            await client.control_playback(playback_id, "pause")
            await client.control_playback(playback_id, "unpause")
            with pytest.raises(BadRequest):
                await client.control_playback(playback_id, "dance")
            await client.stop_playback(playback_id)
            await events.wait_for(is_a(PlaybackFinished), DEADLINE)
        # Asterisk says that it has ended a moment before it forgets it.
        await eventually(lambda: gone(client.get_playback(playback_id)))


async def test_a_playback_reaches_the_inbox_of_its_channel(client):
    """Events of a playback are events of its channel as well."""
    async with listening(client) as bus, call(client, bus, "answer") as inbox:
        (channel_id,) = inbox.keys
        await client.play_on_channel(channel_id, "sound:hello-world", playback_id=own_id("play"))
        finished = await inbox.wait_for(is_a(PlaybackFinished), DEADLINE)
        assert isinstance(finished, PlaybackFinished)
        assert finished.playback.state == "done"


async def test_digits_arrive_at_the_far_end(client):
    """What is sent on one channel is received on the other, in order."""
    async with listening(client) as bus, call(client, bus, "answer") as inbox:
        (channel_id,) = inbox.keys
        far_end = f"{channel_id};2"
        with bus.expect(far_end) as other:
            await client.subscribe(f"channel:{far_end}")
            await client.send_dtmf(channel_id, "1*#", between=40, duration=40)
            digits = ""
            for _ in "1*#":
                event = await other.wait_for(is_a(ChannelDtmfReceived), DEADLINE)
                assert isinstance(event, ChannelDtmfReceived)
                digits += event.digit
        assert digits == "1*#"


async def test_a_recording_and_its_live_verbs(client, lab):
    """A snoop is recorded, paused, muted, stopped; the file is found, copied, read, deleted."""
    async with listening(client) as bus, call(client, bus) as inbox:
        (channel_id,) = inbox.keys
        snoop_id = own_id("snoop")
        with bus.expect(snoop_id) as snoop:
            await client.snoop_channel(channel_id, spy="both", snoop_id=snoop_id)
            await snoop.wait_for(is_a(StasisStart), DEADLINE)
        name = own_id("rec")
        events = await record(client, bus, snoop_id, name, max_duration=30)
        with events:
            assert (await client.get_live_recording(name)).state == "recording"
            await client.pause_recording(name)
            assert (await client.get_live_recording(name)).state == "paused"
            await client.unpause_recording(name)
            await client.mute_recording(name)
            await client.unmute_recording(name)
            with pytest.raises(Conflict):
                await client.record_channel(snoop_id, name, fmt="wav")
            await client.stop_recording(name)
            finished = await events.wait_for(is_a(RecordingFinished), DEADLINE)
            assert isinstance(finished, RecordingFinished)
            assert finished.recording.state == "done"
        await eventually(lambda: gone(client.get_live_recording(name)))
        await client.hangup_channel(snoop_id)

    assert (await client.get_stored_recording(name)).format == "wav"
    copied = await client.copy_stored_recording(name, f"copies/{name}")
    assert copied.name == f"copies/{name}"
    with pytest.raises(Conflict):
        await client.copy_stored_recording(name, f"copies/{name}")
    names = [stored.name for stored in await client.list_stored_recordings()]
    assert {name, f"copies/{name}"} <= set(names)
    await client.delete_stored_recording(f"copies/{name}")
    with pytest.raises(NotFound):
        await client.get_stored_recording(f"copies/{name}")
    written = (lab.recording_dir / f"{name}.wav").read_bytes()
    assert b"".join([part async for part in client.stream_stored_recording(name)]) == written


async def test_a_cancelled_recording_leaves_no_file(client, lab):
    """Cancelling ends it and removes what was written."""
    async with listening(client) as bus, call(client, bus) as inbox:
        name = own_id("rec")
        with await record(client, bus, inbox.keys[0], name) as events:
            await client.cancel_recording(name)
            await events.wait_for(is_a(RecordingFinished), DEADLINE)
        assert not (lab.recording_dir / f"{name}.wav").exists()


@pytest.mark.parametrize("odd", ODD_NAMES)
async def test_odd_names_are_one_recording_everywhere(client, lab, odd):
    """Any printable name can be recorded, stopped, found, copied, read and deleted."""
    async with listening(client) as bus, call(client, bus) as inbox:
        name = f"odd/{odd}"
        with await record(client, bus, inbox.keys[0], name, if_exists="overwrite") as events:
            await client.stop_recording(name)
            await events.wait_for(is_a(RecordingFinished), DEADLINE)
        assert (lab.recording_dir / f"{name}.wav").exists()
        assert (await client.get_stored_recording(name)).name == name
        copied = await client.copy_stored_recording(name, f"{name} 2")
        assert copied.name == f"{name} 2"
        await client.delete_stored_recording(f"{name} 2")
        assert [part async for part in client.stream_stored_recording(name)]
        await client.delete_stored_recording(name)
        assert not (lab.recording_dir / f"{name}.wav").exists()


async def test_a_name_outside_the_folder_never_reaches_asterisk(fresh_lab):
    """A sibling folder that Asterisk itself would let us into is refused by every verb."""
    secret = fresh_lab.recording_dir.with_name("recording-private") / "secret.wav"
    secret.parent.mkdir()
    secret.write_bytes(b"RIFF")
    name = "../recording-private/secret"
    async with client_of(fresh_lab) as client:
        for request in (
            client.get_stored_recording(name),
            client.delete_stored_recording(name),
            client.copy_stored_recording(name, "stolen"),
            client.copy_stored_recording("mine", name),
            client.download_stored_recording(name, secret.with_name("stolen")),
            client.get_live_recording(name),
            client.stop_recording(name),
            client.cancel_recording(name),
            client.pause_recording(name),
            client.unpause_recording(name),
            client.mute_recording(name),
            client.unmute_recording(name),
            client.record_channel("c", name, fmt="wav"),
            client.record_bridge("b", name, fmt="wav"),
        ):
            with pytest.raises(InvalidRecordingName):
                await request
        with pytest.raises(InvalidRecordingName):
            client.stream_stored_recording(name)
    assert [path.name for path in secret.parent.iterdir()] == ["secret.wav"]


async def test_a_download_is_complete_or_not_there(client, lab, tmp_path):
    """A file arrives whole; an unknown one leaves nothing behind."""
    name = own_id("big")
    content = bytes(range(256)) * 8000
    (lab.recording_dir / f"{name}.wav").write_bytes(content)
    into = tmp_path / "got.wav"
    assert await client.download_stored_recording(name, into) == len(content)
    assert into.read_bytes() == content
    with pytest.raises(NotFound):
        await client.download_stored_recording(own_id("none"), tmp_path / "none.wav")
    with pytest.raises(FileNotFoundError):
        await client.download_stored_recording(name, tmp_path / "no folder" / "got.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["got.wav"]


async def test_a_bridge_and_its_verbs(client):
    """A bridge takes channels, music, a playback and a recording, lets them go and is destroyed."""
    async with (
        listening(client) as bus,
        call(client, bus) as one,
        call(client, bus, "tone-880") as two,
    ):
        first, second = one.keys[0], two.keys[0]
        bridge_id, name, playback_id = own_id("bridge"), own_id("rec"), own_id("play")
        with bus.expect(bridge_id) as events, bus.expect(name, playback_id) as media:
            made = await client.create_bridge(bridge_id, name="tea party")
            assert (made.id, made.name, made.bridge_type) == (bridge_id, "tea party", "mixing")
            await client.subscribe(f"bridge:{bridge_id}")
            await client.add_to_bridge(bridge_id, first, second)
            for _ in range(2):
                await events.wait_for(is_a(ChannelEnteredBridge), DEADLINE)
            assert set((await client.get_bridge(bridge_id)).channels) == {first, second}
            assert bridge_id in [bridge.id for bridge in await client.list_bridges()]
            await client.bridge_moh_start(bridge_id)
            await client.bridge_moh_stop(bridge_id)
            await client.record_bridge(bridge_id, name, fmt="wav", max_duration=10)
            await media.wait_for(is_a(RecordingStarted), DEADLINE)
            await client.play_on_bridge(bridge_id, "sound:hello-world", playback_id=playback_id)
            await media.wait_for(is_a(PlaybackStarted), DEADLINE)
            await client.stop_recording(name)
            await media.wait_for(is_a(RecordingFinished), DEADLINE)
            await client.remove_from_bridge(bridge_id, first)
            await events.wait_for(is_a(ChannelLeftBridge), DEADLINE)
            await client.destroy_bridge(bridge_id)
            await events.wait_for(is_a(BridgeDestroyed), DEADLINE)
        with pytest.raises(NotFound):
            await client.get_bridge(bridge_id)


async def test_external_media_for_a_program_that_comes_to_us(client, lab):
    """The media channel tells where its websocket is, and starts when that is connected."""
    async with listening(client) as bus:
        channel_id = own_id("media")
        with bus.expect(channel_id) as inbox:
            made = await client.external_media(
                "INCOMING",
                channel_id=channel_id,
                fmt="slin16",
                transport="websocket",
                encapsulation="none",
                connection_type="server",
                transport_data="f(json)",
            )
            connection_id = (made.channelvars or {})["MEDIA_WEBSOCKET_CONNECTION_ID"]
            url = f"{lab.ari_url}/media/{connection_id}"
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(url, protocols=["media"]) as media,
            ):
                assert (await media.receive_json())["channel_id"] == channel_id
                await inbox.wait_for(is_a(StasisStart), DEADLINE)
                await client.hangup_channel(channel_id)
                await inbox.wait_for(is_a(ChannelDestroyed), DEADLINE)


async def test_an_application_and_its_subscriptions(client):
    """An application is there while it is served; subscriptions come and go."""
    with pytest.raises(NotFound):
        await client.get_application()
    async with listening(client):
        bridge_id = own_id("bridge")
        await client.create_bridge(bridge_id)
        assert client.app_name in [app.name for app in await client.list_applications()]
        assert bridge_id in (await client.subscribe(f"bridge:{bridge_id}")).bridge_ids
        assert bridge_id not in (await client.unsubscribe(f"bridge:{bridge_id}")).bridge_ids
        await client.destroy_bridge(bridge_id)
        with pytest.raises(BadRequest):
            await client.subscribe("channel:nobody")
        assert (await client.get_application()).name == client.app_name


async def test_device_states_are_never_subscribed_to(client):
    """What can deadlock Asterisk is refused before it is sent."""
    with pytest.raises(ValueError, match="deadlock"):
        await client.subscribe("deviceState:Stasis:x")


async def test_the_event_filter(client):
    """Only allowed events come; a new filter replaces the old; a misspelt type is refused."""
    async with listening(client) as bus:
        await client.set_event_filter(allowed=["StasisStart", "ChannelDestroyed"])
        async with call(client, bus) as inbox:
            await client.hangup_channel(inbox.keys[0])
            assert isinstance(await inbox.get(DEADLINE), ChannelDestroyed)
        cleared = await client.set_event_filter(disallowed=["ChannelVarset"])
        assert cleared.events_allowed == []
        assert cleared.events_disallowed == [{"type": "ChannelVarset"}]
        with pytest.raises(ValueError, match="'StasisStrat' is no event"):
            await client.set_event_filter(allowed=["StasisStrat"])


async def test_asterisk_itself(client):
    """Ping, modules and global variables."""
    assert (await client.ping()).ping == "pong"
    assert "res_ari.so" in [module.name for module in await client.list_modules()]
    assert (await client.get_module("res_ari.so")).status == "Running"
    await client.reload_module("pbx_config.so")
    with pytest.raises(NotFound):
        await client.get_module("res_unheard_of.so")
    await client.set_global_var("WIRE", "a=b&c é")
    assert await client.get_global_var("WIRE") == "a=b&c é"


async def test_sounds_endpoints_and_device_states(client):
    """What belongs to no call can be listed and asked for one by one."""
    assert "hello-world" in [sound.id for sound in await client.list_sounds(lang="en")]
    assert (await client.get_sound("hello-world")).formats[0].language == "en"
    assert {"phone-a", "phone-b"} <= {found.resource for found in await client.list_endpoints()}
    assert {found.technology for found in await client.list_endpoints("PJSIP")} == {"PJSIP"}
    assert (await client.get_endpoint("PJSIP", "phone-a")).resource == "phone-a"
    device = f"Stasis:{own_id('device')}"
    await client.set_device_state(device, "INUSE")
    assert (await client.get_device_state(device)).state == "INUSE"
    assert device in [found.name for found in await client.list_device_states()]
    await client.delete_device_state(device)
    with pytest.raises(Conflict):
        await client.set_device_state("SIP/1", "INUSE")


def test_every_verb_says_what_it_does():
    """Each public verb has a docstring."""
    verbs = [
        member
        for name, member in inspect.getmembers(ARIClient, inspect.isfunction)
        if not name.startswith("_")
    ]
    assert len(verbs) > 70
    assert [verb.__name__ for verb in verbs if not verb.__doc__] == []
