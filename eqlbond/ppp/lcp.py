"""The Link Control Protocol (RFC 1661 sections 5 and 6, RFC 1570, and the LCP options of RFC 1990)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from eqlbond.codec import control, options
from eqlbond.codec.accm import XON_XOFF
from eqlbond.codec.control import ControlPacket
from eqlbond.codec.options import AuthenticationProtocol, EndpointDiscriminator, Option
from eqlbond.ppp.automaton import Action, FsmEvent, State
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.echo import Liveness
from eqlbond.ppp.negotiation import ACCEPT, Answer, ControlProtocol, RandomSource, Reject

LCP_PROTOCOL = 0xC021
DEFAULT_MRU = 1500
DEFAULT_ACCM = 0xFFFFFFFF

LOOPS = 5
"""Signs of a looped-back line in one negotiation before it is taken for one; by chance, one comes in 2**32 requests."""

_NAMES = {
    kind.type: kind.name
    for kind in (
        options.MRU,
        options.ACCM,
        options.AUTHENTICATION,
        options.MAGIC,
        options.PFC,
        options.ACFC,
        options.FCS,
        options.MRRU,
        options.SHORT_SEQUENCE,
        options.ENDPOINT,
    )
} | {4: "Quality-Protocol", 13: "Callback", 23: "Link-Discriminator", 27: "Multilink-Header-Format"}

_NOT_SPOKEN = "not supported"


@attrs.define
class LcpValues:
    """What one side asked for, and so what the other does towards it. The defaults of RFC 1661."""

    mru: int = DEFAULT_MRU
    accm: int = DEFAULT_ACCM
    auth: AuthenticationProtocol | None = None
    magic: int = 0
    pfc: bool = False
    acfc: bool = False
    fcs: int = 16
    mrru: int | None = None
    short_sequence: bool = False
    endpoint: EndpointDiscriminator | None = None


class Lcp(ControlProtocol):
    """The LCP of one connection."""

    protocol = LCP_PROTOCOL
    name = "LCP"
    layer = "the link"
    parts_at_once = True

    def __init__(self, config: Ppp, random: RandomSource) -> None:
        super().__init__(random, config.timing, passive=config.role == "answerer")
        self.ours = LcpValues()
        """What we asked for: it governs what the peer sends. Agreed while `opened`."""
        self.peers = LcpValues()
        """What the peer asked for: it governs what we send. Agreed while `opened`."""
        self.looped_back = False
        self.identifications: list[str] = []
        """What the peer said that it is, and its messages on the time that remains; taken away by the owner."""
        self.rejected_protocols: list[int] = []
        """Protocols that the peer rejected; taken away by the owner."""
        self.liveness = Liveness(config.echo_interval, config.echo_failure)
        self._config = config
        self._judged = LcpValues()
        self._loops = 0
        self._nakked_magic = 0

    # What we want.

    def reset(self) -> None:
        """Wish for what is configured, with a fresh magic number."""
        config = self._config
        self.ours = LcpValues(
            mru=config.mru,
            accm=config.accm,
            auth=config.demands[0] if config.demands else None,
            magic=self._draw_magic() if config.magic else 0,
            pfc=config.pfc,
            acfc=config.acfc,
            fcs=32 if config.fcs32 else 16,
            mrru=config.mrru,
            short_sequence=config.short_sequence,
            endpoint=config.endpoint,
        )
        self.peers = LcpValues()
        self.peer_mru = DEFAULT_MRU

    def wanted(self) -> Sequence[Option]:
        """Everything that differs from the defaults."""
        ours = self.ours
        wishes: list[Option] = []
        if ours.mru != DEFAULT_MRU:
            wishes.append(options.MRU.make(ours.mru))
        if ours.accm != DEFAULT_ACCM:
            wishes.append(options.ACCM.make(ours.accm))
        if ours.auth is not None:
            wishes.append(options.AUTHENTICATION.make(ours.auth))
        if ours.magic:
            wishes.append(options.MAGIC.make(ours.magic))
        if ours.pfc:
            wishes.append(options.PFC.make(True))
        if ours.acfc:
            wishes.append(options.ACFC.make(True))
        if ours.fcs == 32:
            wishes.append(options.FCS.make(options.FCS_32))
        if ours.mrru is not None:
            wishes.append(options.MRRU.make(ours.mrru))
        if ours.short_sequence:
            wishes.append(options.SHORT_SEQUENCE.make(True))
        if ours.endpoint is not None:
            wishes.append(options.ENDPOINT.make(ours.endpoint))
        return wishes

    def naked(self, option: Option, drop: bool) -> None:
        """Follow the peer where it can be followed."""
        ours = self.ours
        if option.type == options.MAGIC.type:
            self._magic_naked(options.MAGIC.read(option))
            if drop:
                ours.magic = 0
        elif option.type == options.AUTHENTICATION.type:
            self._auth_naked(options.AUTHENTICATION.read(option))
        elif drop:
            self._drop(option.type)
        elif option.type == options.MRU.type:
            value = options.MRU.read(option)
            if value is not None and 128 <= value <= max(self._config.mru, DEFAULT_MRU):
                ours.mru = value
        elif option.type == options.ACCM.type:
            ours.accm |= options.ACCM.read(option) or 0
        elif option.type == options.FCS.type:
            if not (options.FCS.read(option) or 0) & options.FCS_32:
                ours.fcs = 16
        elif option.type == options.MRRU.type:
            value = options.MRRU.read(option)
            if ours.mrru is not None and value is not None and 128 <= value <= max(self._config.mrru or 0, 1500):
                ours.mrru = value
        else:
            self._drop(option.type)

    def rejected(self, option: Option) -> None:
        """Do without, where we can."""
        if option.type == options.AUTHENTICATION.type:
            self._doom("the peer refuses to authenticate itself")
        else:
            self._drop(option.type)

    def _drop(self, type_: int) -> None:
        ours, plain = self.ours, LcpValues()
        field = {
            options.MRU.type: "mru",
            options.ACCM.type: "accm",
            options.MAGIC.type: "magic",
            options.PFC.type: "pfc",
            options.ACFC.type: "acfc",
            options.FCS.type: "fcs",
            options.MRRU.type: "mrru",
            options.SHORT_SEQUENCE.type: "short_sequence",
            options.ENDPOINT.type: "endpoint",
        }.get(type_)
        if field is not None:
            setattr(ours, field, getattr(plain, field))
        if type_ == options.MRRU.type:
            ours.short_sequence = False

    def _auth_naked(self, value: AuthenticationProtocol | None) -> None:
        if self.ours.auth is None:
            return  # An invitation to demand authentication: ours to decide, not the peer's.
        if value in self._config.demands:
            self.ours.auth = value
        else:
            wanted = " or ".join(self._config.require)
            self._doom(f"the peer does not authenticate itself by {wanted}")

    # What the peer wants.

    def judging(self) -> None:
        """Start from the defaults: what the peer does not name is at its default."""
        self._judged = LcpValues()

    def accepted(self) -> None:
        """The peer's request stands."""
        self.peers = self._judged
        self.peer_mru = self.peers.mru

    def judge(self, option: Option) -> Answer:
        """RFC 1661 section 6, RFC 1570 section 2, RFC 1990 section 5.1."""
        judge = self._JUDGES.get(option.type)
        return Reject(_NOT_SPOKEN) if judge is None else judge(self, option)

    def option_name(self, type_: int) -> str:
        """The option's name in its RFC."""
        return _NAMES.get(type_, f"option {type_}")

    def _judge_mru(self, option: Option) -> Answer:
        value = options.MRU.read(option)
        if value is None or value < self._config.min_mtu:
            return options.MRU.make(max(DEFAULT_MRU, self._config.min_mtu))
        self._judged.mru = value
        return ACCEPT

    def _judge_accm(self, option: Option) -> Answer:
        value = options.ACCM.read(option)
        if value is None:
            return options.ACCM.make(0)
        # A sender may escape more than it is asked to (RFC 1662 section 7.1); flow control goes in both directions.
        self._judged.accm = value | XON_XOFF if self._config.escapes_xonxoff else value
        return ACCEPT

    def _judge_auth(self, option: Option) -> Answer:
        credentials = self._config.auth
        if credentials is None:
            return Reject("no name and secret are configured to authenticate with")
        value = options.AUTHENTICATION.read(option)
        if value != credentials.protocol:
            return options.AUTHENTICATION.make(credentials.protocol)
        self._judged.auth = value
        return ACCEPT

    def _judge_magic(self, option: Option) -> Answer:
        value = options.MAGIC.read(option)
        if value and value == self.ours.magic:
            # Our own number: two systems drew the same, or the line is looped back (RFC 1661 section 6.4).
            self._loop_seen()
            self._nakked_magic = self._draw_magic()
            return options.MAGIC.make(self._nakked_magic)
        if not value:
            return options.MAGIC.make(self._draw_magic())
        self._judged.magic = value
        return ACCEPT

    def _judge_pfc(self, option: Option) -> Answer:
        return self._judge_flag(option, options.PFC, "pfc", self._config.pfc)

    def _judge_acfc(self, option: Option) -> Answer:
        return self._judge_flag(option, options.ACFC, "acfc", self._config.acfc)

    def _judge_short(self, option: Option) -> Answer:
        return self._judge_flag(option, options.SHORT_SEQUENCE, "short_sequence", self._config.mrru is not None)

    def _judge_flag(self, option: Option, kind: options.OptionKind[bool], field: str, wanted: bool) -> Answer:
        if not wanted:
            return Reject("switched off here")
        if kind.read(option) is None:
            return kind.make(True)
        setattr(self._judged, field, True)
        return ACCEPT

    def _judge_fcs(self, option: Option) -> Answer:
        """One check for all packets: a mixture or none at all is answered with the best that both have."""
        if not self._config.fcs32:
            return Reject("switched off here")
        value = options.FCS.read(option)
        if value == options.FCS_32:
            self._judged.fcs = 32
        elif value != options.FCS_16:
            only_16 = value is not None and value & options.FCS_16 and not value & options.FCS_32
            return options.FCS.make(options.FCS_16 if only_16 else options.FCS_32)
        return ACCEPT

    def _judge_mrru(self, option: Option) -> Answer:
        if self._config.mrru is None:
            return Reject("Multilink is not configured here")
        value = options.MRRU.read(option)
        if value is None or value < self._config.min_mrru:
            return options.MRRU.make(max(self._config.mrru, self._config.min_mrru))
        self._judged.mrru = value
        return ACCEPT

    def _judge_endpoint(self, option: Option) -> Answer:
        value = options.ENDPOINT.read(option)
        if value is None:
            return Reject("its length does not fit its class")
        self._judged.endpoint = value
        return ACCEPT

    _JUDGES: ClassVar = {
        options.MRU.type: _judge_mru,
        options.ACCM.type: _judge_accm,
        options.AUTHENTICATION.type: _judge_auth,
        options.MAGIC.type: _judge_magic,
        options.PFC.type: _judge_pfc,
        options.ACFC.type: _judge_acfc,
        options.FCS.type: _judge_fcs,
        options.MRRU.type: _judge_mrru,
        options.SHORT_SEQUENCE.type: _judge_short,
        options.ENDPOINT.type: _judge_endpoint,
    }

    # Magic numbers.

    def _draw_magic(self) -> int:
        """A number that is not 0 and not the one in use."""
        while True:
            number = int.from_bytes(self._random.randbytes(4), "big")
            if number and number != self.ours.magic:
                return number

    def _magic_naked(self, value: int | None) -> None:
        if self.ours.magic:
            if value is not None and value == self._nakked_magic:
                self._loop_seen()
            self.ours.magic = self._draw_magic()

    def _loop_seen(self) -> None:
        self._loops += 1
        if self._loops >= LOOPS:
            self._looped()

    def _looped(self) -> None:
        self.looped_back = True
        self._doom("the line is looped back: we hear our own frames (a modem in command mode or a test plug?)")

    def _own_magic(self, packet: ControlPacket) -> bool:
        """Whether a packet that begins with a magic number carries our own."""
        return self.ours.magic != 0 and packet.data[:4] == self.ours.magic.to_bytes(4, "big")

    # Codes beyond the automaton's.

    def extension(self, packet: ControlPacket, now: float) -> FsmEvent:
        """Protocol-Reject, Echo, Discard, Identification, Time-Remaining."""
        code, data = packet.code, packet.data
        if code == control.PROTOCOL_REJECT:
            return self._protocol_rejected(data)
        if not control.ECHO_REQUEST <= code <= control.TIME_REMAINING:
            return FsmEvent.UNKNOWN_CODE
        if len(data) < (8 if code == control.TIME_REMAINING else 4):
            self._discard("length")
        elif self.state is State.OPENED and self._own_magic(packet):
            self._looped()
        elif code == control.ECHO_REPLY and self.state is State.OPENED:
            self.liveness.replied(packet.identifier, now)
        elif code == control.IDENTIFICATION:
            self._note(data[4:])
        elif code == control.TIME_REMAINING:
            seconds = int.from_bytes(data[4:8], "big")
            left = "the session ends" if seconds == 0xFFFFFFFF else f"{seconds} seconds remain"
            self._note(left.encode() + (b": " + data[8:] if data[8:] else b""))
        return FsmEvent.ECHO

    def _note(self, text: bytes) -> None:
        if len(self.identifications) < 8:
            shown = text[:255].decode("utf-8", "replace")
            self.identifications.append("".join(c if c.isprintable() else "?" for c in shown))

    def code_rejected(self, code: int) -> None:
        """A peer without Echo cannot be asked for signs of life."""
        if code in (control.ECHO_REQUEST, control.ECHO_REPLY):
            self.liveness.stop()

    def _protocol_rejected(self, data: bytes) -> FsmEvent:
        if self.state is not State.OPENED:  # RFC 1661 section 5.7
            self._discard("Protocol-Reject outside Opened")
            return FsmEvent.REJECT_MILD
        if len(data) < 2:
            self._discard("length")
            return FsmEvent.REJECT_MILD
        protocol = int.from_bytes(data[:2], "big")
        if protocol == LCP_PROTOCOL:
            self._keep("the peer rejects LCP itself (Protocol-Reject)")
            return FsmEvent.REJECT_FATAL
        if len(self.rejected_protocols) < 16 and protocol not in self.rejected_protocols:
            self.rejected_protocols.append(protocol)
        return FsmEvent.REJECT_MILD

    def echo_reply(self, packet: ControlPacket) -> None:
        """Answer with our magic number and the request's data."""
        if packet.code == control.ECHO_REQUEST and len(packet.data) >= 4 and not self._own_magic(packet):
            self.send(control.ECHO_REPLY, packet.identifier, self._magic_bytes() + packet.data[4:])

    def protocol_reject(self, protocol: int, information: bytes) -> None:
        """Tell the peer that a protocol is not spoken here (RFC 1661 section 5.7)."""
        if self.state is State.OPENED:
            self.send(control.PROTOCOL_REJECT, self.fresh_identifier(), protocol.to_bytes(2, "big") + information)

    def _magic_bytes(self) -> bytes:
        return self.ours.magic.to_bytes(4, "big")

    # Liveness.

    @property
    def next_deadline(self) -> float | None:
        """When `tick` is due, or None."""
        times = [t for t in (self._deadline, self.liveness.next_deadline) if t is not None]
        return min(times, default=None)

    def tick(self, now: float, queue_delay: float = 0.0) -> None:
        """Do what is due at `now`; a frame made now leaves the port in `queue_delay` seconds."""
        super().tick(now)
        verdict = self.liveness.tick(now)
        if verdict is True:
            identifier = self.fresh_identifier()
            self.send(control.ECHO_REQUEST, identifier, self._magic_bytes())
            self.liveness.sent(identifier, now, queue_delay)
        elif verdict is False:
            self.fail(f"no sign of life from the peer for {self.liveness.failure} Echo-Requests", now)

    def _act(self, action: Action, now: float, packet: ControlPacket | None) -> None:
        super()._act(action, now, packet)
        if action is Action.LAYER_UP:
            self._loops = 0
            self.liveness.start(now)
            if self._config.identification is not None:
                text = self._config.identification.encode()
                self.send(control.IDENTIFICATION, self.fresh_identifier(), self._magic_bytes() + text)
        elif action is Action.LAYER_DOWN:
            self.liveness.stop()
