"""The IPv6 Control Protocol: interface identifiers (RFC 5072 section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address

from eqlbond.codec import options
from eqlbond.codec.options import Option
from eqlbond.ppp.config import Ipv6Options
from eqlbond.ppp.negotiation import ACCEPT, Answer, ControlProtocol, RandomSource, Reject, Timing

IPV6CP_PROTOCOL = 0x8057

_LINK_LOCAL = 0xFE80 << 112
_UNIVERSAL = 1 << 57
"""The universal/local bit, which is 0 in an identifier that was made up (RFC 5072 section 4.1)."""

LOOPS = 5
"""Collisions that our own proposals come back from, before the negotiation is given up."""


class Ipv6cp(ControlProtocol):
    """The IPV6CP of a plain link or of a bundle."""

    protocol = IPV6CP_PROTOCOL
    name = "IPV6CP"
    layer = "IPv6"

    def __init__(self, config: Ipv6Options, random: RandomSource, timing: Timing) -> None:
        super().__init__(random, timing)
        self._config = config
        self._ours = 0
        self._peers: int | None = None
        self._judged: int | None = None
        self._proposed = 0
        self._loops = 0

    @property
    def local(self) -> IPv6Address | None:
        """Our link-local address, or None where identifiers were not negotiated."""
        return IPv6Address(_LINK_LOCAL | self._ours) if self._ours else None

    @property
    def peer(self) -> IPv6Address | None:
        """The peer's link-local address, as far as it is known."""
        return None if self._peers is None else IPv6Address(_LINK_LOCAL | self._peers)

    def reset(self) -> None:
        """Wish for the configured identifier, or a random one."""
        self._ours = self._config.interface_id or self._draw()
        self._peers = None

    def wanted(self) -> Sequence[Option]:
        """Our identifier, unless the peer refuses the option."""
        return [options.INTERFACE_IDENTIFIER.make(self._ours)] if self._ours else []

    def naked(self, option: Option, drop: bool) -> None:
        """Take the peer's proposal; our own, come back, tells of a looped line (RFC 5072 section 4.1)."""
        value = options.INTERFACE_IDENTIFIER.read(option)
        if option.type != options.INTERFACE_IDENTIFIER.type or not self._ours:
            return
        if drop:
            self._doom("IPV6CP: no interface identifier found that the peer takes")
        elif not value or value == self._proposed:
            self._loops += value == self._proposed
            self._ours = self._draw()
            if self._loops >= LOOPS:
                self._doom("IPV6CP: our own proposals come back: the line is looped back")
        elif self._config.interface_id is None:
            self._ours = value

    def rejected(self, option: Option) -> None:
        """The peer does not negotiate identifiers: there is none from the negotiation."""
        if option.type == options.INTERFACE_IDENTIFIER.type:
            self._ours = 0

    def judging(self) -> None:
        """Nothing is known of the peer's yet."""
        self._judged = None

    def accepted(self) -> None:
        """The peer's request stands."""
        self._peers = self._judged

    def judge(self, option: Option) -> Answer:
        """Any identifier but 0 and our own."""
        if option.type != options.INTERFACE_IDENTIFIER.type:
            return Reject("not supported")
        value = options.INTERFACE_IDENTIFIER.read(option)
        if not value or value == self._ours:
            self._proposed = self._config.peer_interface_id or self._draw()
            if value and self._proposed == value:
                self._proposed = self._draw()
            return options.INTERFACE_IDENTIFIER.make(self._proposed)
        self._judged = value
        return ACCEPT

    def option_name(self, type_: int) -> str:
        """The option's name in its RFC."""
        names = {options.INTERFACE_IDENTIFIER.type: options.INTERFACE_IDENTIFIER.name, 2: "IPv6-Compression-Protocol"}
        return names.get(type_, f"option {type_}")

    def _draw(self) -> int:
        while True:
            number = int.from_bytes(self._random.randbytes(8), "big") & ~_UNIVERSAL
            if number and number != self._ours:
                return number
