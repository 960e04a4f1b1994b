"""Resources and events of ARI. Generated, do not edit: run script/generate-ari-schema.

Made from the api-docs JSON of Asterisk 22.10.1 (sha256 5638773bc4f5c966).
"""

# ruff: noqa: D102  # every `keys` below says what `Event.keys` says

from __future__ import annotations

from typing import Any

import msgspec


def target_id(uri: str) -> str:
    """Return the id in a target URI such as `channel:<id>`."""
    return uri.partition(":")[2]


class Model(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A resource, or a part of one. JSON has no cycles, so the garbage collector need not look."""


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag=True):
    """What every event carries. `timestamp` is Asterisk's text: 2026-11-20T14:44:33.123+0000."""

    asterisk_id: str = ""
    application: str = ""
    timestamp: str = ""

    @property
    def type(self) -> str:
        """The event's name on the wire."""
        return type(self).__name__

    def keys(self) -> tuple[str, ...]:
        """Return what it concerns: ids of channels, bridges, playbacks; names of recordings."""
        return ()


class AdditionalParam(Model, frozen=True, kw_only=True):
    """The model `AdditionalParam` of ARI."""

    parameter_name: str = ""
    parameter_value: str = ""


class Application(Model, frozen=True, kw_only=True):
    """The model `Application` of ARI."""

    name: str
    channel_ids: list[str] = []
    bridge_ids: list[str] = []
    endpoint_ids: list[str] = []
    device_names: list[str] = []
    events_allowed: list[Any] = []
    events_disallowed: list[Any] = []


class BuildInfo(Model, frozen=True, kw_only=True):
    """The model `BuildInfo` of ARI."""

    os: str = ""
    kernel: str = ""
    options: str = ""
    machine: str = ""
    date: str = ""
    user: str = ""


class SystemInfo(Model, frozen=True, kw_only=True):
    """The model `SystemInfo` of ARI."""

    version: str = ""
    entity_id: str = ""


class SetId(Model, frozen=True, kw_only=True):
    """The model `SetId` of ARI."""

    user: str = ""
    group: str = ""


class ConfigInfo(Model, frozen=True, kw_only=True):
    """The model `ConfigInfo` of ARI."""

    name: str = ""
    default_language: str = ""
    max_channels: int | None = None
    max_open_files: int | None = None
    max_load: float | None = None
    setid: SetId = msgspec.field(default_factory=SetId)


class StatusInfo(Model, frozen=True, kw_only=True):
    """The model `StatusInfo` of ARI."""

    startup_time: str = ""
    last_reload_time: str = ""


class AsteriskInfo(Model, frozen=True, kw_only=True):
    """The model `AsteriskInfo` of ARI."""

    build: BuildInfo | None = None
    system: SystemInfo | None = None
    config: ConfigInfo | None = None
    status: StatusInfo | None = None


class AsteriskPing(Model, frozen=True, kw_only=True):
    """The model `AsteriskPing` of ARI."""

    asterisk_id: str = ""
    ping: str = ""
    timestamp: str = ""


class Bridge(Model, frozen=True, kw_only=True):
    """The model `Bridge` of ARI."""

    id: str
    technology: str = ""
    bridge_type: str = ""
    bridge_class: str = ""
    creator: str = ""
    name: str = ""
    channels: list[str] = []
    video_mode: str | None = None
    video_source_id: str | None = None
    creationtime: str = ""
    bridgevars: dict[str, Any] | None = None


class CallerID(Model, frozen=True, kw_only=True):
    """The model `CallerID` of ARI."""

    name: str = ""
    number: str = ""


class DialplanCEP(Model, frozen=True, kw_only=True):
    """The model `DialplanCEP` of ARI."""

    context: str = ""
    exten: str = ""
    priority: int = 0
    app_name: str = ""
    app_data: str = ""


class Channel(Model, frozen=True, kw_only=True):
    """The model `Channel` of ARI."""

    id: str
    protocol_id: str = ""
    name: str = ""
    state: str = ""
    caller: CallerID = msgspec.field(default_factory=CallerID)
    connected: CallerID = msgspec.field(default_factory=CallerID)
    accountcode: str = ""
    dialplan: DialplanCEP = msgspec.field(default_factory=DialplanCEP)
    creationtime: str = ""
    language: str = ""
    channelvars: dict[str, Any] | None = None
    caller_rdnis: str | None = None
    tenantid: str | None = None


class ConfigTuple(Model, frozen=True, kw_only=True):
    """The model `ConfigTuple` of ARI."""

    attribute: str = ""
    value: str = ""


class ContactInfo(Model, frozen=True, kw_only=True):
    """The model `ContactInfo` of ARI."""

    uri: str = ""
    contact_status: str = ""
    aor: str = ""
    roundtrip_usec: str | None = None


class DeviceState(Model, frozen=True, kw_only=True):
    """The model `DeviceState` of ARI."""

    name: str
    state: str = ""


class Dialed(Model, frozen=True, kw_only=True):
    """The model `Dialed` of ARI."""


class Endpoint(Model, frozen=True, kw_only=True):
    """The model `Endpoint` of ARI."""

    technology: str = ""
    resource: str = ""
    state: str | None = None
    channel_ids: list[str] = []


class FormatLangPair(Model, frozen=True, kw_only=True):
    """The model `FormatLangPair` of ARI."""

    language: str = ""
    format: str = ""


class LiveRecording(Model, frozen=True, kw_only=True):
    """The model `LiveRecording` of ARI."""

    name: str
    format: str = ""
    target_uri: str = ""
    state: str = ""
    duration: int | None = None
    talking_duration: int | None = None
    silence_duration: int | None = None
    cause: str | None = None


class LogChannel(Model, frozen=True, kw_only=True):
    """The model `LogChannel` of ARI."""

    channel: str = ""
    type: str = ""
    status: str = ""
    configuration: str = ""


class Mailbox(Model, frozen=True, kw_only=True):
    """The model `Mailbox` of ARI."""

    name: str
    old_messages: int = 0
    new_messages: int = 0


class Module(Model, frozen=True, kw_only=True):
    """The model `Module` of ARI."""

    name: str
    description: str = ""
    use_count: int = 0
    status: str = ""
    support_level: str = ""


class Peer(Model, frozen=True, kw_only=True):
    """The model `Peer` of ARI."""

    peer_status: str = ""
    cause: str | None = None
    address: str | None = None
    port: str | None = None
    time: str | None = None


class Playback(Model, frozen=True, kw_only=True):
    """The model `Playback` of ARI."""

    id: str
    media_uri: str = ""
    next_media_uri: str | None = None
    target_uri: str = ""
    language: str | None = None
    state: str = ""


class RESTHeader(Model, frozen=True, kw_only=True):
    """The model `RESTHeader` of ARI."""

    name: str = ""
    value: str = ""


class RESTQueryStringParameter(Model, frozen=True, kw_only=True):
    """The model `RESTQueryStringParameter` of ARI."""

    name: str = ""
    value: str = ""


class RESTRequest(Model, frozen=True, kw_only=True):
    """The model `RESTRequest` of ARI."""

    type: str = ""
    transaction_id: str = ""
    request_id: str = ""
    method: str = ""
    uri: str = ""
    content_type: str | None = None
    query_strings: list[RESTQueryStringParameter] | None = None
    message_body: str | None = None


class RTPstat(Model, frozen=True, kw_only=True):
    """The model `RTPstat` of ARI."""

    txcount: int = 0
    rxcount: int = 0
    txjitter: float | None = None
    rxjitter: float | None = None
    remote_maxjitter: float | None = None
    remote_minjitter: float | None = None
    remote_normdevjitter: float | None = None
    remote_stdevjitter: float | None = None
    local_maxjitter: float | None = None
    local_minjitter: float | None = None
    local_normdevjitter: float | None = None
    local_stdevjitter: float | None = None
    txploss: int = 0
    rxploss: int = 0
    remote_maxrxploss: float | None = None
    remote_minrxploss: float | None = None
    remote_normdevrxploss: float | None = None
    remote_stdevrxploss: float | None = None
    local_maxrxploss: float | None = None
    local_minrxploss: float | None = None
    local_normdevrxploss: float | None = None
    local_stdevrxploss: float | None = None
    rtt: float | None = None
    maxrtt: float | None = None
    minrtt: float | None = None
    normdevrtt: float | None = None
    stdevrtt: float | None = None
    local_ssrc: int = 0
    remote_ssrc: int = 0
    txoctetcount: int = 0
    rxoctetcount: int = 0
    channel_uniqueid: str = ""


class RequiredDestination(Model, frozen=True, kw_only=True):
    """The model `RequiredDestination` of ARI."""

    protocol_id: str | None = None
    destination: str | None = None
    additional_protocol_params: list[AdditionalParam] | None = None


class ReferTo(Model, frozen=True, kw_only=True):
    """The model `ReferTo` of ARI."""

    requested_destination: RequiredDestination = msgspec.field(default_factory=RequiredDestination)
    destination_channel: Channel | None = None
    connected_channel: Channel | None = None
    bridge: Bridge | None = None


class ReferredBy(Model, frozen=True, kw_only=True):
    """The model `ReferredBy` of ARI."""

    source_channel: Channel
    connected_channel: Channel | None = None
    bridge: Bridge | None = None


class Sound(Model, frozen=True, kw_only=True):
    """The model `Sound` of ARI."""

    id: str
    text: str | None = None
    formats: list[FormatLangPair] = []


class StoredRecording(Model, frozen=True, kw_only=True):
    """The model `StoredRecording` of ARI."""

    name: str
    format: str = ""


class TextMessage(Model, frozen=True, kw_only=True):
    """The model `TextMessage` of ARI."""

    from_: str = msgspec.field(default="", name="from")
    to: str = ""
    body: str = ""
    variables: dict[str, Any] | None = None


class Variable(Model, frozen=True, kw_only=True):
    """The model `Variable` of ARI."""

    value: str = ""


class Variables(Model, frozen=True, kw_only=True):
    """The model `Variables` of ARI."""

    variables: dict[str, Any] = {}


class ApplicationMoveFailed(Event, frozen=True, kw_only=True):
    """The event `ApplicationMoveFailed` of ARI."""

    channel: Channel
    destination: str = ""
    args: list[str] = []

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ApplicationRegistered(Event, frozen=True, kw_only=True):
    """The event `ApplicationRegistered` of ARI."""


class ApplicationReplaced(Event, frozen=True, kw_only=True):
    """The event `ApplicationReplaced` of ARI."""


class ApplicationUnregistered(Event, frozen=True, kw_only=True):
    """The event `ApplicationUnregistered` of ARI."""


class BridgeAttendedTransfer(Event, frozen=True, kw_only=True):
    """The event `BridgeAttendedTransfer` of ARI."""

    transferer_first_leg: Channel
    transferer_second_leg: Channel
    replace_channel: Channel | None = None
    transferee: Channel | None = None
    transfer_target: Channel | None = None
    result: str = ""
    is_external: bool = False
    transferer_first_leg_bridge: Bridge | None = None
    transferer_second_leg_bridge: Bridge | None = None
    destination_type: str = ""
    destination_bridge: str | None = None
    destination_application: str | None = None
    destination_link_first_leg: Channel | None = None
    destination_link_second_leg: Channel | None = None
    destination_threeway_channel: Channel | None = None
    destination_threeway_bridge: Bridge | None = None

    def keys(self) -> tuple[str, ...]:
        found = [self.transferer_first_leg.id, self.transferer_second_leg.id]
        if self.replace_channel is not None:
            found.append(self.replace_channel.id)
        if self.transferee is not None:
            found.append(self.transferee.id)
        if self.transfer_target is not None:
            found.append(self.transfer_target.id)
        if self.transferer_first_leg_bridge is not None:
            found.append(self.transferer_first_leg_bridge.id)
        if self.transferer_second_leg_bridge is not None:
            found.append(self.transferer_second_leg_bridge.id)
        if self.destination_link_first_leg is not None:
            found.append(self.destination_link_first_leg.id)
        if self.destination_link_second_leg is not None:
            found.append(self.destination_link_second_leg.id)
        if self.destination_threeway_channel is not None:
            found.append(self.destination_threeway_channel.id)
        if self.destination_threeway_bridge is not None:
            found.append(self.destination_threeway_bridge.id)
        return tuple(found)


class BridgeBlindTransfer(Event, frozen=True, kw_only=True):
    """The event `BridgeBlindTransfer` of ARI."""

    channel: Channel
    replace_channel: Channel | None = None
    transferee: Channel | None = None
    exten: str = ""
    context: str = ""
    result: str = ""
    is_external: bool = False
    bridge: Bridge | None = None

    def keys(self) -> tuple[str, ...]:
        found = [self.channel.id]
        if self.replace_channel is not None:
            found.append(self.replace_channel.id)
        if self.transferee is not None:
            found.append(self.transferee.id)
        if self.bridge is not None:
            found.append(self.bridge.id)
        return tuple(found)


class BridgeCreated(Event, frozen=True, kw_only=True):
    """The event `BridgeCreated` of ARI."""

    bridge: Bridge

    def keys(self) -> tuple[str, ...]:
        return (self.bridge.id,)


class BridgeDestroyed(Event, frozen=True, kw_only=True):
    """The event `BridgeDestroyed` of ARI."""

    bridge: Bridge

    def keys(self) -> tuple[str, ...]:
        return (self.bridge.id,)


class BridgeMerged(Event, frozen=True, kw_only=True):
    """The event `BridgeMerged` of ARI."""

    bridge: Bridge
    bridge_from: Bridge

    def keys(self) -> tuple[str, ...]:
        return (
            self.bridge.id,
            self.bridge_from.id,
        )


class BridgeVideoSourceChanged(Event, frozen=True, kw_only=True):
    """The event `BridgeVideoSourceChanged` of ARI."""

    bridge: Bridge
    old_video_source_id: str | None = None

    def keys(self) -> tuple[str, ...]:
        return (self.bridge.id,)


class CallBroadcast(Event, frozen=True, kw_only=True):
    """The event `CallBroadcast` of ARI."""

    channel: Channel
    caller: str | None = None
    called: str | None = None

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class CallClaimed(Event, frozen=True, kw_only=True):
    """The event `CallClaimed` of ARI."""

    channel: Channel
    winner_app: str = ""

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelCallerId(Event, frozen=True, kw_only=True):
    """The event `ChannelCallerId` of ARI."""

    caller_presentation: int = 0
    caller_presentation_txt: str = ""
    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelConnectedLine(Event, frozen=True, kw_only=True):
    """The event `ChannelConnectedLine` of ARI."""

    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelCreated(Event, frozen=True, kw_only=True):
    """The event `ChannelCreated` of ARI."""

    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelDestroyed(Event, frozen=True, kw_only=True):
    """The event `ChannelDestroyed` of ARI."""

    cause: int = 0
    cause_txt: str = ""
    tech_cause: int | None = None
    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelDialplan(Event, frozen=True, kw_only=True):
    """The event `ChannelDialplan` of ARI."""

    channel: Channel
    dialplan_app: str = ""
    dialplan_app_data: str = ""

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelDtmfReceived(Event, frozen=True, kw_only=True):
    """The event `ChannelDtmfReceived` of ARI."""

    digit: str = ""
    duration_ms: int = 0
    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelEnteredBridge(Event, frozen=True, kw_only=True):
    """The event `ChannelEnteredBridge` of ARI."""

    bridge: Bridge
    channel: Channel | None = None

    def keys(self) -> tuple[str, ...]:
        found = [self.bridge.id]
        if self.channel is not None:
            found.append(self.channel.id)
        return tuple(found)


class ChannelHangupRequest(Event, frozen=True, kw_only=True):
    """The event `ChannelHangupRequest` of ARI."""

    cause: int | None = None
    tech_cause: int | None = None
    soft: bool | None = None
    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelHold(Event, frozen=True, kw_only=True):
    """The event `ChannelHold` of ARI."""

    channel: Channel
    musicclass: str | None = None

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelLeftBridge(Event, frozen=True, kw_only=True):
    """The event `ChannelLeftBridge` of ARI."""

    bridge: Bridge
    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (
            self.bridge.id,
            self.channel.id,
        )


class ChannelStateChange(Event, frozen=True, kw_only=True):
    """The event `ChannelStateChange` of ARI."""

    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelTalkingFinished(Event, frozen=True, kw_only=True):
    """The event `ChannelTalkingFinished` of ARI."""

    channel: Channel
    duration: int = 0

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelTalkingStarted(Event, frozen=True, kw_only=True):
    """The event `ChannelTalkingStarted` of ARI."""

    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelToneDetected(Event, frozen=True, kw_only=True):
    """The event `ChannelToneDetected` of ARI."""

    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelTransfer(Event, frozen=True, kw_only=True):
    """The event `ChannelTransfer` of ARI."""

    state: str | None = None
    refer_to: ReferTo = msgspec.field(default_factory=ReferTo)
    referred_by: ReferredBy

    def keys(self) -> tuple[str, ...]:
        found = [self.referred_by.source_channel.id]
        if self.refer_to.destination_channel is not None:
            found.append(self.refer_to.destination_channel.id)
        if self.refer_to.connected_channel is not None:
            found.append(self.refer_to.connected_channel.id)
        if self.refer_to.bridge is not None:
            found.append(self.refer_to.bridge.id)
        if self.referred_by.connected_channel is not None:
            found.append(self.referred_by.connected_channel.id)
        if self.referred_by.bridge is not None:
            found.append(self.referred_by.bridge.id)
        return tuple(found)


class ChannelUnhold(Event, frozen=True, kw_only=True):
    """The event `ChannelUnhold` of ARI."""

    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class ChannelUserevent(Event, frozen=True, kw_only=True):
    """The event `ChannelUserevent` of ARI."""

    eventname: str = ""
    channel: Channel | None = None
    bridge: Bridge | None = None
    endpoint: Endpoint | None = None
    userevent: dict[str, Any] = {}

    def keys(self) -> tuple[str, ...]:
        found = []
        if self.channel is not None:
            found.append(self.channel.id)
        if self.bridge is not None:
            found.append(self.bridge.id)
        return tuple(found)


class ChannelVarset(Event, frozen=True, kw_only=True):
    """The event `ChannelVarset` of ARI."""

    variable: str = ""
    value: str = ""
    channel: Channel | None = None

    def keys(self) -> tuple[str, ...]:
        found = []
        if self.channel is not None:
            found.append(self.channel.id)
        return tuple(found)


class ContactStatusChange(Event, frozen=True, kw_only=True):
    """The event `ContactStatusChange` of ARI."""

    endpoint: Endpoint = msgspec.field(default_factory=Endpoint)
    contact_info: ContactInfo = msgspec.field(default_factory=ContactInfo)


class DeviceStateChanged(Event, frozen=True, kw_only=True):
    """The event `DeviceStateChanged` of ARI."""

    device_state: DeviceState


class Dial(Event, frozen=True, kw_only=True):
    """The event `Dial` of ARI."""

    caller: Channel | None = None
    peer: Channel
    forward: str | None = None
    forwarded: Channel | None = None
    dialstring: str | None = None
    dialstatus: str = ""

    def keys(self) -> tuple[str, ...]:
        found = [self.peer.id]
        if self.caller is not None:
            found.append(self.caller.id)
        if self.forwarded is not None:
            found.append(self.forwarded.id)
        return tuple(found)


class EndpointStateChange(Event, frozen=True, kw_only=True):
    """The event `EndpointStateChange` of ARI."""

    endpoint: Endpoint = msgspec.field(default_factory=Endpoint)


class MissingParams(Event, frozen=True, kw_only=True):
    """The event `MissingParams` of ARI."""

    params: list[str] = []


class PeerStatusChange(Event, frozen=True, kw_only=True):
    """The event `PeerStatusChange` of ARI."""

    endpoint: Endpoint = msgspec.field(default_factory=Endpoint)
    peer: Peer = msgspec.field(default_factory=Peer)


class PlaybackContinuing(Event, frozen=True, kw_only=True):
    """The event `PlaybackContinuing` of ARI."""

    playback: Playback

    def keys(self) -> tuple[str, ...]:
        return (
            self.playback.id,
            target_id(self.playback.target_uri),
        )


class PlaybackFinished(Event, frozen=True, kw_only=True):
    """The event `PlaybackFinished` of ARI."""

    playback: Playback

    def keys(self) -> tuple[str, ...]:
        return (
            self.playback.id,
            target_id(self.playback.target_uri),
        )


class PlaybackStarted(Event, frozen=True, kw_only=True):
    """The event `PlaybackStarted` of ARI."""

    playback: Playback

    def keys(self) -> tuple[str, ...]:
        return (
            self.playback.id,
            target_id(self.playback.target_uri),
        )


class RESTResponse(Event, frozen=True, kw_only=True):
    """The event `RESTResponse` of ARI."""

    transaction_id: str = ""
    request_id: str = ""
    status_code: int = 0
    reason_phrase: str = ""
    uri: str = ""
    content_type: str | None = None
    message_body: str | None = None


class RecordingFailed(Event, frozen=True, kw_only=True):
    """The event `RecordingFailed` of ARI."""

    recording: LiveRecording

    def keys(self) -> tuple[str, ...]:
        return (
            self.recording.name,
            target_id(self.recording.target_uri),
        )


class RecordingFinished(Event, frozen=True, kw_only=True):
    """The event `RecordingFinished` of ARI."""

    recording: LiveRecording

    def keys(self) -> tuple[str, ...]:
        return (
            self.recording.name,
            target_id(self.recording.target_uri),
        )


class RecordingStarted(Event, frozen=True, kw_only=True):
    """The event `RecordingStarted` of ARI."""

    recording: LiveRecording

    def keys(self) -> tuple[str, ...]:
        return (
            self.recording.name,
            target_id(self.recording.target_uri),
        )


class StasisEnd(Event, frozen=True, kw_only=True):
    """The event `StasisEnd` of ARI."""

    channel: Channel

    def keys(self) -> tuple[str, ...]:
        return (self.channel.id,)


class StasisStart(Event, frozen=True, kw_only=True):
    """The event `StasisStart` of ARI."""

    args: list[str] = []
    channel: Channel
    replace_channel: Channel | None = None

    def keys(self) -> tuple[str, ...]:
        found = [self.channel.id]
        if self.replace_channel is not None:
            found.append(self.replace_channel.id)
        return tuple(found)


class TextMessageReceived(Event, frozen=True, kw_only=True):
    """The event `TextMessageReceived` of ARI."""

    message: TextMessage = msgspec.field(default_factory=TextMessage)
    endpoint: Endpoint | None = None


AnyEvent = (
    ApplicationMoveFailed
    | ApplicationRegistered
    | ApplicationReplaced
    | ApplicationUnregistered
    | BridgeAttendedTransfer
    | BridgeBlindTransfer
    | BridgeCreated
    | BridgeDestroyed
    | BridgeMerged
    | BridgeVideoSourceChanged
    | CallBroadcast
    | CallClaimed
    | ChannelCallerId
    | ChannelConnectedLine
    | ChannelCreated
    | ChannelDestroyed
    | ChannelDialplan
    | ChannelDtmfReceived
    | ChannelEnteredBridge
    | ChannelHangupRequest
    | ChannelHold
    | ChannelLeftBridge
    | ChannelStateChange
    | ChannelTalkingFinished
    | ChannelTalkingStarted
    | ChannelToneDetected
    | ChannelTransfer
    | ChannelUnhold
    | ChannelUserevent
    | ChannelVarset
    | ContactStatusChange
    | DeviceStateChanged
    | Dial
    | EndpointStateChange
    | MissingParams
    | PeerStatusChange
    | PlaybackContinuing
    | PlaybackFinished
    | PlaybackStarted
    | RESTResponse
    | RecordingFailed
    | RecordingFinished
    | RecordingStarted
    | StasisEnd
    | StasisStart
    | TextMessageReceived
)

"""The union that the decoder is built from."""

EVENT_TYPES = frozenset(
    {
        "ApplicationMoveFailed",
        "ApplicationRegistered",
        "ApplicationReplaced",
        "ApplicationUnregistered",
        "BridgeAttendedTransfer",
        "BridgeBlindTransfer",
        "BridgeCreated",
        "BridgeDestroyed",
        "BridgeMerged",
        "BridgeVideoSourceChanged",
        "CallBroadcast",
        "CallClaimed",
        "ChannelCallerId",
        "ChannelConnectedLine",
        "ChannelCreated",
        "ChannelDestroyed",
        "ChannelDialplan",
        "ChannelDtmfReceived",
        "ChannelEnteredBridge",
        "ChannelHangupRequest",
        "ChannelHold",
        "ChannelLeftBridge",
        "ChannelStateChange",
        "ChannelTalkingFinished",
        "ChannelTalkingStarted",
        "ChannelToneDetected",
        "ChannelTransfer",
        "ChannelUnhold",
        "ChannelUserevent",
        "ChannelVarset",
        "ContactStatusChange",
        "DeviceStateChanged",
        "Dial",
        "EndpointStateChange",
        "MissingParams",
        "PeerStatusChange",
        "PlaybackContinuing",
        "PlaybackFinished",
        "PlaybackStarted",
        "RESTResponse",
        "RecordingFailed",
        "RecordingFinished",
        "RecordingStarted",
        "StasisEnd",
        "StasisStart",
        "TextMessageReceived",
    }
)

"""The name of every event."""
