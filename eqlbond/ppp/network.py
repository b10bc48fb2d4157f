"""The network protocols of a plain link or of a bundle: IPCP and IPV6CP together (RFC 1661 section 3.6).

A plain link has its own `Network`; a Multilink bundle has one for all its links (RFC 1990 section 2).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import attrs

from eqlbond.packet import IPV4, IPV6, Packet
from eqlbond.ppp.automaton import State
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.ipcp import IPCP_PROTOCOL, NOBODY, Ipcp
from eqlbond.ppp.ipv6cp import IPV6CP_PROTOCOL, Ipv6cp
from eqlbond.ppp.negotiation import RandomSource, Signal
from eqlbond.ppp.phases import LinkEvent, LinkOptionRefused, NcpDown, NcpUp

_EVENTS = 256
_RETRY = 10
"""Restart times after which an NCP that got no answers tries again, where another one holds the link open.

The peer may have opened it on answers of ours that arrived late, and would wait for ever."""


@attrs.frozen
class Addresses:
    """What the two ends are called; None or empty where it is not known."""

    local: IPv4Address | None = None
    peer: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    """Name servers that the peer told us."""
    local6: IPv6Address | None = None
    """Our link-local address, from the agreed interface identifier."""
    peer6: IPv6Address | None = None


class Network:
    """The NCPs that are configured, side by side. No clock, no I/O, and nothing that arrives raises.

    Owner's loop: `up` when the link is in the Network phase (or the bundle has its first link), `down` when it leaves
    it; packets of `protocols` into `receive`; `tick` when due; send what `take_output` gives: by `PppLink.encode`,
    or through the bundle. A data packet passes in either direction only while `permits` its protocol.
    """

    def __init__(self, config: Ppp, random: RandomSource) -> None:
        self.ipcp = Ipcp(config.ip, random, config.timing) if config.ip is not None else None
        self.ipv6cp = Ipv6cp(config.ipv6, random, config.timing) if config.ipv6 is not None else None
        self.events: list[LinkEvent] = []
        """What happened, oldest first; the owner takes them away (`take_events`)."""
        self._protocols: dict[int, Ipcp | Ipv6cp] = {}
        self._data: dict[int, int] = {}
        if self.ipcp is not None:
            self._protocols[IPCP_PROTOCOL] = self.ipcp
            self._data[IPCP_PROTOCOL] = IPV4
        if self.ipv6cp is not None:
            self._protocols[IPV6CP_PROTOCOL] = self.ipv6cp
            self._data[IPV6CP_PROTOCOL] = IPV6
        self._output: list[Packet] = []
        self._open: set[int] = set()
        self._refused: set[tuple[str, str]] = set()
        self._ended: set[int] = set()
        self._retries: dict[int, float] = {}
        self._pause = _RETRY * config.restart

    def set_least_wait(self, seconds: float) -> None:
        """What `ControlProtocol.least_wait` is for all of them."""
        for protocol in self._protocols.values():
            protocol.least_wait = seconds

    @property
    def protocols(self) -> frozenset[int]:
        """The control protocols whose packets belong into `receive`."""
        return frozenset(self._protocols)

    @property
    def opened(self) -> bool:
        """Whether packets of some network protocol can flow."""
        return bool(self._open)

    @property
    def failure(self) -> str | None:
        """Why no packet will ever flow: every NCP has ended; None before that."""
        if self._open or len(self._ended) < len(self._protocols):
            return None
        reasons = [p.failure for p in self._protocols.values() if p.failure is not None]
        return "; ".join(reasons) or ("no network protocol is configured" if not self._protocols else None)

    @property
    def addresses(self) -> Addresses:
        """What has been agreed so far."""
        ipcp = self.ipcp if self.ipcp is not None and self.ipcp.opened else None
        ipv6cp = self.ipv6cp if self.ipv6cp is not None and self.ipv6cp.opened else None
        return Addresses(
            local=ipcp.local if ipcp is not None and ipcp.local != NOBODY else None,
            peer=ipcp.peer if ipcp is not None else None,
            dns=ipcp.dns if ipcp is not None else (),
            local6=ipv6cp.local if ipv6cp is not None else None,
            peer6=ipv6cp.peer if ipv6cp is not None else None,
        )

    def permits(self, protocol: int | None) -> bool:
        """Whether data packets of this protocol may pass: its NCP is open (RFC 1661 section 3.6)."""
        return protocol in self._open

    @property
    def next_deadline(self) -> float | None:
        """When `tick` is due, or None."""
        times = [*(p.next_deadline for p in self._protocols.values()), *self._retries.values()]
        return min((t for t in times if t is not None), default=None)

    def take_output(self) -> list[Packet]:
        """NCP packets to send, tagged with their protocol."""
        output, self._output = self._output, []
        return output

    def take_events(self) -> list[LinkEvent]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events

    def up(self, now: float, mtu: int = 1500) -> None:
        """The link or bundle below can carry packets of up to `mtu` bytes."""
        self._ended.clear()
        self._retries.clear()
        for ncp in self._protocols.values():
            ncp.peer_mru = mtu
            ncp.failure = None
            ncp.open(now)
            ncp.up(now)
        self._run(now)

    def down(self, now: float) -> None:
        """The link or bundle below carries packets no more."""
        self._retries.clear()
        for ncp in self._protocols.values():
            ncp.down(now)
        self._run(now)

    def close(self, now: float) -> None:
        """End the network protocols in good order, the link below stays."""
        for ncp in self._protocols.values():
            ncp.close(now)
        self._run(now)

    def receive(self, packet: Packet, now: float) -> None:
        """Take a packet of one of `protocols`; others are ignored."""
        ncp = self._protocols.get(packet.protocol or 0)
        if ncp is not None:
            ncp.receive(packet.payload, now)
            self._run(now)

    def protocol_rejected(self, protocol: int, now: float) -> None:
        """The peer sent a Protocol-Reject for an NCP, or for the packets that it stands for."""
        for number, ncp in self._protocols.items():
            if protocol in (number, self._data[number]):
                ncp.reject(now)
        self._run(now)

    def tick(self, now: float) -> None:
        """Do what is due at `now`."""
        for number, ncp in self._protocols.items():
            ncp.tick(now)
            if number in self._retries and now >= self._retries[number]:
                del self._retries[number]
                if ncp.state is State.STOPPED:
                    ncp.down(now)
                    ncp.up(now)
        self._run(now)

    def _run(self, now: float) -> None:
        for number, ncp in self._protocols.items():
            for step in ncp.take_steps():
                if isinstance(step, bytes):
                    self._output.append(Packet(step, number))
                elif step is Signal.UP:
                    self._open.add(self._data[number])
                    self._ended.discard(number)
                    self._retries.pop(number, None)
                    ncp.failure = None
                    self._tell(NcpUp(now, self._data[number]))
                elif step is Signal.DOWN:
                    self._open.discard(self._data[number])
                    self._tell(NcpDown(now, self._data[number], ncp.failure))
                elif step is Signal.FINISHED:
                    self._ended.add(number)
                    if ncp.gave_up:
                        self._retries[number] = now + self._pause
                    self._tell(NcpDown(now, self._data[number], ncp.failure))
            for option, why in ncp.refused.items():
                if (ncp.name, option) not in self._refused:
                    self._refused.add((ncp.name, option))
                    self._tell(LinkOptionRefused(now, ncp.name, option, why))

    def _tell(self, event: LinkEvent) -> None:
        if len(self.events) < _EVENTS:
            self.events.append(event)
