"""A PPP connection as a bond's member has it: LCP, authentication, and whatever carries the network layer above them.

On a plain member that is a `Network` of its own, as EQL's slaves had it; on a Multilink member it is the bundle's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eqlbond import events
from eqlbond.core.reassembly import LinkCounts
from eqlbond.packet import Packet
from eqlbond.ppp import phases
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.link import PppLink
from eqlbond.ppp.negotiation import RandomSource
from eqlbond.ppp.network import Network
from eqlbond.ppp.phases import Phase

if TYPE_CHECKING:
    from eqlbond.core.multilink import Mux


def as_event(news: phases.LinkEvent, owner: Any) -> events.Event | None:
    """What a link or network tells, as an event about a slave."""
    match news:
        case phases.LinkPhaseChanged(time=time, phase=phase, reason=reason):
            return events.PhaseChanged(time, owner, phase.value, reason)
        case phases.LinkPeerAuthenticated(time=time, name=name):
            return events.PeerAuthenticated(time, owner, name)
        case phases.LinkOptionRefused(time=time, protocol=protocol, option=option, why=why):
            return events.OptionRefused(time, owner, protocol, option, why)
        case phases.LinkPeerSaid(time=time, text=text):
            return events.PeerSaid(time, owner, text)
        case phases.NcpUp(time=time, protocol=number):
            return events.NetworkUp(time, owner, number)
        case phases.NcpDown(time=time, protocol=number, reason=reason):
            return events.NetworkDown(time, owner, number, reason)
    return None


class PppConnection:
    """A `Link` over PPP.

    Args:
        config: the line's options.
        random: for magic numbers, challenges and identifiers.
        mux: the Multilink bundle that it shall join; None: it has a `Network` of its own.
        exchange_time: seconds that a request and its answer may take on the line; no request is repeated before.
    """

    def __init__(self, config: Ppp, random: RandomSource, mux: Mux | None, exchange_time: float = 0.0) -> None:
        self.link = PppLink(config, random)
        self.link.lcp.least_wait = exchange_time
        self.exchange_time = exchange_time
        self.mux = mux
        self.network = Network(config, random) if mux is None else None
        if self.network is not None:
            self.network.set_least_wait(exchange_time)
        self.failure: str | None = None
        self.joined = False
        self.fragments = LinkCounts()
        """Multilink fragments received."""
        self._terminating = False
        self._unmet = False  # terminated before there was an agreement: no answer is waited for
        self._output: list[bytes] = []
        self._news: list[phases.LinkEvent] = []
        self.encode = self.link.encode
        self.wire_size = self.link.wire_size

    # -- what the member asks

    @property
    def up(self) -> bool:
        """Whether data packets may go."""
        if self.network is not None:
            return self.network.opened
        assert self.mux is not None
        return self.joined and self.mux.network.opened

    @property
    def stirred(self) -> bool:
        """Whether there are control frames or events to take, here or in the bundle."""
        if self._output or self._news or self.link.stirred:
            return True
        return bool(self.network.events) if self.network is not None else self.mux is not None and self.mux.stirred

    @property
    def finished(self) -> bool:
        """Whether PPP has come to its end."""
        return self.link.dead

    @property
    def leaving(self) -> bool:
        """Whether nobody is waited for any more: the peer has ended PPP, or there never was one.

        RFC 1661 section 4.2 has us wait a restart time after the peer's last word before we are finished.
        """
        return self._unmet or (self.link.phase is Phase.TERMINATE and not self._terminating)

    @property
    def ending(self) -> str | None:
        """Why the connection is ending; None while it is not, or where there is no more to say than that it is."""
        return self.link.failure if self.link.phase is Phase.TERMINATE else None

    @property
    def phase(self) -> str:
        """The phase, for people."""
        return self.link.phase.value

    @property
    def mtu(self) -> int:
        """The largest packet, or Multilink fragment with its header, that the peer takes."""
        return self.link.mtu

    @property
    def size_key(self) -> object:
        """Connections with the same key frame a packet to the same size."""
        peers = self.link.lcp.peers
        return "ppp", peers.accm, peers.pfc, peers.acfc, peers.fcs

    @property
    def dropped(self) -> Mapping[str, int]:
        """Bad frames and discarded packets, by reason."""
        if not self.link.discarded:
            return self.link.dropped
        return {**self.link.dropped, **self.link.discarded}

    @property
    def remedies(self) -> Mapping[str, str]:
        """What a person can do about some of the reasons."""
        return self.link.remedies

    def start(self, now: float) -> None:
        """The port is open: begin with LCP."""
        self.link.start(now)
        self._follow(now)

    def receive(self, data: bytes, now: float) -> list[Packet]:
        """Take what the port read; return the data packets in it."""
        link = self.link
        before = link.phase
        packets = link.receive(data, now)
        moved = link.phase is not before or bool(link.events)
        delivered: list[Packet] = []
        if before is Phase.NETWORK:  # what came before the end of the phase, and perhaps in one read with it, is good
            if packets:
                delivered = self._receive_packets(packets, now)
            if moved:
                self._follow(now)
            return delivered
        self._follow(now)
        return self._receive_packets(packets, now) if packets else delivered

    def _receive_packets(self, packets: list[Packet], now: float) -> list[Packet]:
        if self.mux is not None:
            return self.mux.receive(self, packets, now) if self.joined else []
        return self._receive_plain(packets, now)

    def _receive_plain(self, packets: list[Packet], now: float) -> list[Packet]:
        network = self.network
        assert network is not None
        delivered = []
        for packet in packets:
            if packet.protocol in network.protocols:
                network.receive(packet, now)
                self._follow_network(network, now)
            elif network.permits(packet.protocol):
                delivered.append(packet)
            else:
                # RFC 1661 section 3.6: silently discarded until its NCP is open.
                self.link.discarded["network not open"] = self.link.discarded.get("network not open", 0) + 1
        return delivered

    def take_output(self) -> list[bytes]:
        """Control frames, ready for the wire."""
        output = self.link.take_output() + self._output
        self._output = []
        return output

    def next_deadline(self) -> float | None:
        """When `tick` is due."""
        link = self.link.next_deadline
        network = None if self.network is None else self.network.next_deadline
        if link is None or (network is not None and network < link):
            return network
        return link

    def tick(self, now: float, queue_delay: float = 0.0) -> None:
        """A deadline has come."""
        self.link.tick(now, queue_delay)
        if self.network is not None:
            self.network.tick(now)
        self._follow(now)

    def terminate(self, now: float) -> None:
        """Say goodbye."""
        self._unmet = self._unmet or self.link.phase in (Phase.ESTABLISH, Phase.AUTHENTICATE)
        self._terminating = self._terminating or not self.leaving
        self.link.terminate(now)
        self._follow(now)

    def hang_up(self, now: float, reason: str) -> None:
        """The line is gone."""
        self.link.hang_up(now, reason)
        self._follow(now)

    def hold_echo(self, now: float, until: float, gone: int) -> None:
        """The latest Echo-Request has not left the port."""
        self.link.hold_echo(now, until, gone)

    def take_events(self, owner: Any) -> list[events.Event]:
        """What has happened, as events about `owner`."""
        news = self._news
        self._news = []
        if self.network is not None:
            news += self.network.take_events()
        return [event for each in news if (event := as_event(each, owner)) is not None]

    # -- what the bundle asks

    def send_control(self, packet: Packet) -> None:
        """Send an NCP packet on this link."""
        self._output.append(self.link.encode(packet))

    def refuse(self, reason: str, now: float) -> None:
        """The bundle does not want this link."""
        self._terminating = True
        self.link.terminate(now, reason)

    # -- the layers together

    def _follow(self, now: float) -> None:
        """The link has moved: take the layers above with it."""
        link = self.link
        for news in link.take_events():
            self._news.append(news)
            if isinstance(news, phases.ProtocolRejected):
                network = self.network if self.network is not None else self.mux.network if self.mux else None
                if network is not None:
                    network.protocol_rejected(news.protocol, now)
            elif isinstance(news, phases.LinkPhaseChanged):
                self._phase_changed(news.phase, now)
        if self.network is not None:
            self._follow_network(self.network, now)
        if link.dead and link.failure is not None:
            self.failure = link.failure

    def _follow_network(self, network: Network, now: float) -> None:
        for packet in network.take_output():
            self.send_control(packet)
        if network.failure is not None and self.link.phase is Phase.NETWORK:
            self.link.terminate(now, f"no network protocol could be opened: {network.failure}")
            self._follow(now)

    def _phase_changed(self, phase: Phase, now: float) -> None:
        if phase is Phase.NETWORK:
            if self.network is not None:
                self.network.up(now, self.link.mtu)
            elif self.mux is not None and not self.joined:
                problem = self.mux.join(self, now)
                if problem is None:
                    self.joined = True
                else:
                    self.refuse(problem, now)
        elif self.network is not None:
            self.network.down(now)
        elif self.joined and self.mux is not None:
            self.joined = False
            self.mux.leave(self, now)
