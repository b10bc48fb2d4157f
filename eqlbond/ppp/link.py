"""One PPP connection: framing, LCP and authentication, through the phases of RFC 1661 section 3.

A `PppLink` is made when a port opens and dies with the connection; the network protocols belong to `Network`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from eqlbond.codec import control
from eqlbond.codec.base import Framer
from eqlbond.codec.hdlc import HdlcFramer
from eqlbond.packet import IPV4, IPV6, Packet
from eqlbond.ppp.authentication import make_roles
from eqlbond.ppp.automaton import State
from eqlbond.ppp.chap import ChapAuthenticator
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.ipcp import IPCP_PROTOCOL
from eqlbond.ppp.ipv6cp import IPV6CP_PROTOCOL
from eqlbond.ppp.lcp import DEFAULT_ACCM, DEFAULT_MRU, LCP_PROTOCOL, Lcp
from eqlbond.ppp.negotiation import RandomSource, Signal
from eqlbond.ppp.pap import PapAuthenticator
from eqlbond.ppp.phases import (
    LinkEvent,
    LinkOptionRefused,
    LinkPeerAuthenticated,
    LinkPeerSaid,
    LinkPhaseChanged,
    PeerIdentity,
    Phase,
    ProtocolRejected,
)
from eqlbond.ppp.role import Role

MULTILINK = 0x003D
"""PPP protocol number of Multilink fragments (RFC 1990)."""

_FLAG = b"\x7e"
_EVENTS = 256
"""Events kept for an owner that does not take them; what comes after is dropped."""


class LinkFramer(Framer, Protocol):
    """What a link needs of its framer: `eqlbond.codec.hdlc.HdlcFramer` is one.

    LCP packets go uncompressed and fully escaped, whatever is set, and with the default check are taken.
    """

    def set_transmit(self, *, accm: int, pfc: bool, acfc: bool, fcs: int) -> None:
        """How frames are made from now on."""
        ...

    def set_receive(self, *, accm: int, fcs: int) -> None:
        """How frames are read from the next frame on."""
        ...


class PppLink:
    """One connection of one line. No clock, no I/O, and nothing that arrives raises.

    Owner's loop: `start`; bytes into `receive`, packets out of it; `tick` when `next_deadline` has come; after each
    of these write what `take_output` gives, ahead of data, and look at `events` and `phase`. Packets of the upper
    layers come out of `receive` in the Network phase only, tagged with their protocol: network packets, NCP packets
    (for a `Network`) and Multilink fragments. When the phase is DEAD the link is of no more use.
    """

    def __init__(self, config: Ppp, random: RandomSource, framer: LinkFramer | None = None) -> None:
        self.config = config
        self.phase = Phase.DEAD
        self.events: list[LinkEvent] = []
        """What happened, oldest first; the owner takes them away (`take_events`)."""
        self.discarded: dict[str, int] = {}
        """Good frames that were discarded, by reason."""
        self.lcp = Lcp(config, random)
        self._random = random
        # Whatever MRU is agreed, 1500 bytes must be taken (RFC 1661 section 6.1).
        self._framer = HdlcFramer(max(DEFAULT_MRU, config.mru)) if framer is None else framer
        self._output: list[bytes] = []
        self._failure: str | None = None
        self._authentications: list[Role] = []
        self._authenticator: PapAuthenticator | ChapAuthenticator | None = None
        self._passed: frozenset[int] = frozenset()
        self._establish_until: float | None = None
        self._peer_may_use_fcs32 = False
        self._rejected_at: dict[int, float] = {}
        self._refused: dict[str, str] = {}
        self._named: str | None = None

    # What the owner asks.

    @property
    def dead(self) -> bool:
        """Whether the connection is at its end (or not begun)."""
        return self.phase is Phase.DEAD

    @property
    def failure(self) -> str | None:
        """Why the link ended, ends or could not open; None while all is well or after a wanted end."""
        return self._failure

    @property
    def mtu(self) -> int:
        """The largest packet that the peer takes, in bytes: its MRU."""
        return self.lcp.peers.mru

    @property
    def mru(self) -> int:
        """The largest packet that the peer may send us, in bytes."""
        return self.lcp.ours.mru

    @property
    def multilink(self) -> bool:
        """Whether both sides agreed to Multilink."""
        return self.phase is Phase.NETWORK and self.lcp.ours.mrru is not None and self.lcp.peers.mrru is not None

    @property
    def mrru(self) -> int | None:
        """The largest packet that the peer reassembles, in bytes; None without Multilink."""
        return self.lcp.peers.mrru if self.multilink else None

    @property
    def transmit_short(self) -> bool:
        """Whether our Multilink headers are short: the peer asked for it."""
        return self.lcp.peers.short_sequence

    @property
    def receive_short(self) -> bool:
        """Whether the peer's Multilink headers are short: we asked for it."""
        return self.lcp.ours.short_sequence

    @property
    def peer_identity(self) -> PeerIdentity:
        """Who the peer is: settled once the phase is NETWORK."""
        name = self._authenticator.peer_name if self._authenticator is not None else None
        return PeerIdentity(name, self.lcp.peers.endpoint)

    @property
    def round_trip(self) -> float | None:
        """Seconds from the latest answered Echo-Request to its reply; None before the first."""
        return self.lcp.liveness.round_trip

    @property
    def dropped(self) -> Mapping[str, int]:
        """Bad frames, by reason."""
        return self._framer.dropped

    @property
    def remedies(self) -> Mapping[str, str]:
        """What a person can do about some of the reasons in `dropped`."""
        return self._framer.remedies

    @property
    def next_deadline(self) -> float | None:
        """When `tick` is due, or None."""
        if self.phase is Phase.DEAD:
            return None
        times = [self.lcp.next_deadline, self._establish_until, *(a.next_deadline for a in self._authentications)]
        return min((t for t in times if t is not None), default=None)

    @property
    def stirred(self) -> bool:
        """Whether there are control frames or events to take."""
        return bool(self._output or self.events)

    def take_output(self) -> list[bytes]:
        """Control frames for the line, whole, in order. They go ahead of data, at the next frame boundary."""
        output, self._output = self._output, []
        return output

    def take_events(self) -> list[LinkEvent]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events

    def encode(self, packet: Packet) -> bytes:
        """A packet as a frame, by what has been negotiated."""
        return self._framer.encode(packet)

    def wire_size(self, packet: Packet) -> int:
        """The size of that frame, in bytes."""
        return self._framer.wire_size(packet)

    # What the owner does.

    def start(self, now: float) -> None:
        """The line can carry bytes: begin."""
        self.lcp.open(now)
        self.lcp.up(now)
        self._set_phase(Phase.ESTABLISH, now)
        if self.config.role == "caller":
            self._establish_until = now + self.config.establish_timeout
        self._run(now)

    def receive(self, data: bytes, now: float) -> list[Packet]:
        """Take what the line delivered; return packets for the layers above."""
        if self.phase is Phase.DEAD:
            return []
        delivered: list[Packet] = []
        # Before the Network phase a frame can change how the next is read, so they are read one by one.
        pieces: Iterable[bytes] = (data,) if self.phase is Phase.NETWORK else _frame_by_frame(data)
        for piece in pieces:
            for packet in self._framer.feed(piece):
                if packet.protocol in self._passed:
                    delivered.append(packet)
                else:
                    self._control(packet, now)
        if delivered:
            self.lcp.liveness.heard()
        return delivered

    def tick(self, now: float, queue_delay: float = 0.0) -> None:
        """Do what is due at `now`.

        `queue_delay`: in how many seconds a control frame made now will have left the port. An Echo-Request's count
        begins then.
        """
        if self.phase is Phase.DEAD:
            return
        self.lcp.tick(now, queue_delay)
        self._run(now)
        for authentication in self._authentications:
            authentication.tick(now)
        self._after_authentication(now)
        if self._establish_until is not None and now >= self._establish_until:
            self._establish_until = None
            if self.lcp.state is not State.STOPPED:
                self._fail(f"the Network phase was not reached in {self.config.establish_timeout:g} s", now)

    def hold_echo(self, now: float, until: float, gone: int) -> None:
        """The latest Echo-Request will not have left the port before `until`; `gone`: bytes that have, since ever."""
        self.lcp.liveness.hold(now, until, gone)

    def terminate(self, now: float, reason: str | None = None) -> None:
        """End the link in good order: at the latest after `max_terminate * restart` seconds it is DEAD.

        `reason` becomes `failure`; leave it out for a wanted end.
        """
        if self.phase is Phase.DEAD:
            return
        if reason is not None:
            self._fail(reason, now)
        else:
            self.lcp.close(now)
            self._run(now)

    def hang_up(self, now: float, reason: str) -> None:
        """The line is gone, and with it the link, at once."""
        if self.phase is Phase.DEAD:
            return
        self._failure = self._failure or self.lcp.failure or reason
        self.lcp.down(now)
        self.lcp.take_steps()
        self._finish(now)

    def reject_protocol(self, packet: Packet, now: float) -> None:
        """Send a Protocol-Reject for a packet that no layer above knows (such as one out of a Multilink bundle).

        At most one per protocol and restart time goes out, whatever the peer sends.
        """
        if self.phase is not Phase.NETWORK or packet.protocol is None:
            return
        last = self._rejected_at.get(packet.protocol)
        if last is not None and now - last < self.config.restart:
            return
        if len(self._rejected_at) >= 16:
            self._rejected_at = {p: t for p, t in self._rejected_at.items() if now - t < self.config.restart}
            if len(self._rejected_at) >= 16:
                return
        self._rejected_at[packet.protocol] = now
        self.lcp.protocol_reject(packet.protocol, packet.payload)
        self._run(now)

    # Packets received.

    def _control(self, packet: Packet, now: float) -> None:
        if self.phase is Phase.DEAD:
            return
        protocol = packet.protocol
        self.lcp.liveness.heard()
        if protocol == LCP_PROTOCOL:
            if self._establish_until is None and self.phase is Phase.ESTABLISH:
                self._establish_until = now + self.config.establish_timeout
            if packet.payload[:1] in (b"\x01", b"\x05"):
                self._peer_may_use_fcs32 = False
            self.lcp.receive(packet.payload, now)
            self._run(now)
        elif self.phase not in (Phase.AUTHENTICATE, Phase.NETWORK):
            self._discard("not open")  # RFC 1661 section 3.4
        elif any(a.protocol == protocol for a in self._authentications):
            for authentication in self._authentications:
                if authentication.protocol == protocol:
                    authentication.receive(packet.payload, now)
            self._after_authentication(now)
        elif self.phase is Phase.AUTHENTICATE:
            self._discard("not authenticated")  # RFC 1661 section 3.5
        else:
            self._discard("unknown protocol")
            self.reject_protocol(packet, now)

    # LCP's steps.

    def _run(self, now: float) -> None:
        while steps := self.lcp.take_steps():
            for step in steps:
                if isinstance(step, bytes):
                    self._send_lcp(step)
                elif step is Signal.UP:
                    self._lcp_up(now)
                elif step is Signal.DOWN:
                    self._lcp_down(now)
                elif step is Signal.FINISHED:
                    self._finish(now)
        state = self.lcp.state
        if self.phase is Phase.ESTABLISH and state in (State.CLOSING, State.STOPPING):
            self._set_phase(Phase.TERMINATE, now)
        if self.phase is not Phase.DEAD and state <= State.CLOSED:
            self._finish(now)
        self._report(now)

    def _send_lcp(self, packet: bytes) -> None:
        frame = Packet(packet, LCP_PROTOCOL)
        code = packet[0]
        if code in (control.CONFIGURE_REQUEST, control.TERMINATE_REQUEST) and self._peer_may_use_fcs32:
            # The peer may believe the link open and expect FCS-32; then it comes twice (RFC 1570 section 2.1.1).
            self._framer.set_transmit(accm=DEFAULT_ACCM, pfc=False, acfc=False, fcs=32)
            self._output.append(self._framer.encode(frame))
            self._framer.set_transmit(accm=DEFAULT_ACCM, pfc=False, acfc=False, fcs=16)
        elif code == control.CONFIGURE_ACK:
            self._peer_may_use_fcs32 = self.lcp.peers.fcs == 32
        self._output.append(self._framer.encode(frame))

    def _lcp_up(self, now: float) -> None:
        ours, peers = self.lcp.ours, self.lcp.peers
        self._framer.set_transmit(accm=peers.accm, pfc=peers.pfc, acfc=peers.acfc, fcs=peers.fcs)
        self._framer.set_receive(accm=ours.accm, fcs=ours.fcs)
        self._named = None
        self._authentications, self._authenticator = make_roles(self.config, ours.auth, peers.auth, self._random)
        if self.config.require and ours.auth not in self.config.demands:
            self._fail("the peer was to authenticate itself and that was not agreed", now)
            return
        if not self._authentications:
            self._enter_network(now)
            return
        self._set_phase(Phase.AUTHENTICATE, now)
        for authentication in self._authentications:
            authentication.start(now)
        self._after_authentication(now)

    def _lcp_down(self, now: float) -> None:
        """Back to the default framing; what authentication had shown is void."""
        was = self.phase
        self._framer.set_transmit(accm=DEFAULT_ACCM, pfc=False, acfc=False, fcs=16)
        self._framer.set_receive(accm=DEFAULT_ACCM, fcs=16)
        self._passed = frozenset()
        self._authentications = []
        self._authenticator = None
        self._rejected_at.clear()  # the peer may be another one, which has not been told yet
        if was is Phase.AUTHENTICATE and self.lcp.state is State.STOPPING and self.config.auth is not None:
            self._failure = self._failure or f"{self.lcp.failure} (during authentication: a wrong name or secret?)"
        if self.lcp.state in (State.CLOSING, State.STOPPING):
            self._set_phase(Phase.TERMINATE, now)
        else:
            self._set_phase(Phase.ESTABLISH, now)
            if self._establish_until is None:
                self._establish_until = now + self.config.establish_timeout

    # Authentication.

    def _after_authentication(self, now: float) -> None:
        failure = None
        for authentication in self._authentications:
            for packet in authentication.take_output():
                self._output.append(self._framer.encode(Packet(packet, authentication.protocol)))
            failure = failure or authentication.failure
        if failure is not None:
            self._fail(failure, now)
            return
        if self._authenticator is not None and self._authenticator.peer_name != self._named:
            self._named = self._authenticator.peer_name
            if self._named is not None:
                self._tell(LinkPeerAuthenticated(now, self._named))
        if self.phase is Phase.AUTHENTICATE and all(a.done for a in self._authentications):
            self._enter_network(now)

    def _enter_network(self, now: float) -> None:
        self._establish_until = None
        self._set_phase(Phase.NETWORK, now)
        passed = set()
        if self.config.ip is not None:
            passed |= {IPV4, IPCP_PROTOCOL}
        if self.config.ipv6 is not None:
            passed |= {IPV6, IPV6CP_PROTOCOL}
        if self.lcp.ours.mrru is not None:
            passed.add(MULTILINK)
        self._passed = frozenset(passed)

    # Ends and news.

    def _fail(self, reason: str, now: float) -> None:
        self._failure = self._failure or reason
        self.lcp.fail(reason, now)
        self._run(now)

    def _finish(self, now: float) -> None:
        if self.phase is not Phase.DEAD:
            self._passed = frozenset()
            self._authentications = []
            self._establish_until = None
            self._set_phase(Phase.DEAD, now)

    def _set_phase(self, phase: Phase, now: float) -> None:
        if phase is self.phase:
            return
        self.phase = phase
        if phase in (Phase.TERMINATE, Phase.DEAD):
            self._failure = self._failure or self.lcp.failure
            self._tell(LinkPhaseChanged(now, phase, self._failure))
        else:
            self._tell(LinkPhaseChanged(now, phase))

    def _report(self, now: float) -> None:
        """Pass on what LCP has noted."""
        lcp = self.lcp
        if lcp.identifications:
            for text in lcp.identifications:
                self._tell(LinkPeerSaid(now, text))
            lcp.identifications = []
        for protocol in lcp.rejected_protocols:
            self._tell(ProtocolRejected(now, protocol))
        rejected, lcp.rejected_protocols = lcp.rejected_protocols, []
        if any(a.protocol in rejected for a in self._authentications):
            self._fail("the peer rejects the authentication protocol that it agreed to", now)
        if len(lcp.refused) > len(self._refused):
            for option, why in lcp.refused.items():
                if option not in self._refused:
                    self._refused[option] = why
                    self._tell(LinkOptionRefused(now, lcp.name, option, why))

    def _tell(self, event: LinkEvent) -> None:
        if len(self.events) < _EVENTS:
            self.events.append(event)

    def _discard(self, reason: str) -> None:
        self.discarded[reason] = self.discarded.get(reason, 0) + 1


def _frame_by_frame(data: bytes) -> Iterator[bytes]:
    """The data in pieces that each end with a flag, and the rest."""
    start = 0
    while (place := data.find(_FLAG, start)) >= 0:
        yield data[start : place + 1]
        start = place + 1
    if start < len(data):
        yield data[start:]
