"""The Internet Protocol Control Protocol (RFC 1332) with the name server options of RFC 1877."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

import attrs

from eqlbond.codec import options
from eqlbond.codec.options import Option
from eqlbond.ppp.config import IpOptions
from eqlbond.ppp.negotiation import ACCEPT, Answer, ControlProtocol, RandomSource, Reject, Timing

IPCP_PROTOCOL = 0x8021

NOBODY = IPv4Address(0)
"""0.0.0.0: in a request, "tell me mine"."""

_DNS = (options.PRIMARY_DNS, options.SECONDARY_DNS)
_NAMES = {
    kind.type: kind.name
    for kind in (options.IP_COMPRESSION, options.IP_ADDRESS, options.PRIMARY_DNS, options.SECONDARY_DNS)
} | {1: "IP-Addresses", 4: "Mobile-IPv4", 130: "Primary-NBNS-Server-Address", 132: "Secondary-NBNS-Server-Address"}


@attrs.define
class IpValues:
    """What one side says of itself."""

    address: IPv4Address | None = None
    dns: dict[int, IPv4Address] = attrs.field(factory=dict)


class Ipcp(ControlProtocol):
    """The IPCP of a plain link or of a bundle."""

    protocol = IPCP_PROTOCOL
    name = "IPCP"
    layer = "IPv4"

    def __init__(self, config: IpOptions, random: RandomSource, timing: Timing) -> None:
        super().__init__(random, timing)
        self._config = config
        self._ours = IpValues()
        self._peers = IpValues()
        self._judged = IpValues()
        self._appended = False

    @property
    def local(self) -> IPv4Address | None:
        """Our address: the agreed one, or the configured one where the peer does not negotiate addresses."""
        return self._ours.address if self._ours.address is not None else self._config.local

    @property
    def peer(self) -> IPv4Address | None:
        """The peer's address, as far as it is known."""
        return self._peers.address if self._peers.address is not None else self._config.peer

    @property
    def dns(self) -> tuple[IPv4Address, ...]:
        """The name servers that the peer told us."""
        return tuple(server for _, server in sorted(self._ours.dns.items()) if server != NOBODY)

    def reset(self) -> None:
        """Wish for what is configured."""
        self._ours = IpValues(address=self._config.local)
        if self._config.ask_dns:
            self._ours.dns = {kind.type: NOBODY for kind in _DNS}
        self._peers = IpValues()
        self._appended = False

    def wanted(self) -> Sequence[Option]:
        """Our address, or 0.0.0.0 to be told one, and name servers likewise."""
        wishes = []
        if self._ours.address is not None:
            wishes.append(options.IP_ADDRESS.make(self._ours.address))
        wishes.extend(kind.make(self._ours.dns[kind.type]) for kind in _DNS if kind.type in self._ours.dns)
        return wishes

    def naked(self, option: Option, drop: bool) -> None:
        """Take what the peer tells us, where we asked to be told."""
        if option.type == options.IP_ADDRESS.type:
            value = options.IP_ADDRESS.read(option)
            asking = self._config.local is not None and self._config.local == NOBODY
            if asking and not drop and value is not None:
                self._ours.address = value
            elif drop and self._ours.address is not None:
                self._doom(
                    "IPCP: the peer names no address for us"
                    if asking
                    else f"IPCP: the peer wants our address to be {value}; configured is {self._config.local}"
                )
        elif option.type in self._ours.dns:
            value = options.PRIMARY_DNS.read(option)
            if drop or value is None:
                del self._ours.dns[option.type]
            else:
                self._ours.dns[option.type] = value

    def rejected(self, option: Option) -> None:
        """Without the option our configured address holds; without an answer to 0.0.0.0 there is none."""
        if option.type == options.IP_ADDRESS.type:
            if self._ours.address == NOBODY:
                self._doom("IPCP: we asked for an address and the peer gives none (configure local)")
            self._ours.address = None
        else:
            self._ours.dns.pop(option.type, None)

    def agreed(self) -> None:
        """An Ack of 0.0.0.0 leaves us without an address."""
        if self._ours.address == NOBODY:
            self._doom("IPCP: we asked for an address and the peer agreed that we have none (configure local)")

    def judging(self) -> None:
        """Nothing is known of the peer's yet."""
        self._judged = IpValues()

    def accepted(self) -> None:
        """The peer's request stands."""
        self._peers = self._judged

    def judge(self, option: Option) -> Answer:
        """Addresses as configured; everything that changes IP headers is refused."""
        if option.type == options.IP_ADDRESS.type:
            return self._judge_address(options.IP_ADDRESS.read(option))
        if option.type == options.IP_COMPRESSION.type:
            return Reject(
                "a compressed header refers to the packet before it, and over several lines packets overtake each other"
            )
        for place, kind in enumerate(_DNS):
            if option.type == kind.type:
                return self._judge_dns(kind, place, option)
        return Reject("not supported")

    def _judge_address(self, value: IPv4Address | None) -> Answer:
        given = self._config.peer
        if given is not None:
            if value != given:
                return options.IP_ADDRESS.make(given)
        elif value is None or value == NOBODY:
            return Reject("no address to give is configured (set peer)")
        elif value == self._ours.address:
            return Reject("it is our own address")
        self._judged.address = value
        return ACCEPT

    def _judge_dns(self, kind: options.OptionKind[IPv4Address], place: int, option: Option) -> Answer:
        if place >= len(self._config.dns):
            return Reject("no such name server is configured")
        ours = self._config.dns[place]
        return ACCEPT if kind.read(option) == ours else kind.make(ours)

    def missing(self, types: frozenset[int]) -> Sequence[Option]:
        """Ask once for the address that the peer left out (RFC 1332 section 3.3)."""
        if self._config.peer is None or options.IP_ADDRESS.type in types or self._appended:
            return ()
        self._appended = True
        return (options.IP_ADDRESS.make(self._config.peer),)

    def option_name(self, type_: int) -> str:
        """The option's name in its RFC."""
        return _NAMES.get(type_, f"option {type_}")
