"""The options of a PPP line, as one value."""

from __future__ import annotations

import ipaddress
from typing import Any

import attrs

from eqlbond.codec.accm import XON_XOFF
from eqlbond.codec.hdlc import HdlcFramer
from eqlbond.codec.options import USE_CHAP_MD5, USE_PAP, AuthenticationProtocol, EndpointDiscriminator
from eqlbond.exceptions import ConfigurationError
from eqlbond.ppp.basics import Timing
from eqlbond.ppp.chap import Chap
from eqlbond.ppp.pap import Pap
from eqlbond.ppp.secret import Secrets

METHODS = {"pap": USE_PAP, "chap": USE_CHAP_MD5}


def _ipv4(field: str, value: Any) -> ipaddress.IPv4Address | None:
    if value is None:
        return None
    try:
        return ipaddress.IPv4Address(value)
    except ValueError:
        raise ConfigurationError(field, f"{value!r} is no IPv4 address such as 10.0.0.1") from None


def _servers(value: Any) -> tuple[ipaddress.IPv4Address, ...]:
    if isinstance(value, str | ipaddress.IPv4Address):
        value = (value,)
    servers = [_ipv4("dns", server) for server in value]
    return tuple(server for server in servers if server is not None)


def _identifier(field: str, value: Any) -> int | None:
    if isinstance(value, str):
        try:
            value = int(ipaddress.IPv6Address(value)) & (1 << 64) - 1
        except ValueError:
            raise ConfigurationError(field, f"{value!r} is no IPv6 address such as fe80::1") from None
    if value is not None and not (isinstance(value, int) and 0 < value < 1 << 64):
        raise ConfigurationError(field, "must be an IPv6 address such as fe80::1, or a number of 64 bits above 0")
    return value


def _local(value: Any) -> ipaddress.IPv4Address | None:
    return _ipv4("local", value)


def _peer(value: Any) -> ipaddress.IPv4Address | None:
    return _ipv4("peer", value)


@attrs.frozen
class IpOptions:
    """IPv4 over the link (IPCP, RFC 1332 and RFC 1877). Addresses may be text; a bad one is a `ConfigurationError`."""

    local: ipaddress.IPv4Address | None = attrs.field(default=None, converter=_local)
    """Our address. "0.0.0.0" asks the peer for one; None (the default) leaves addresses out of the negotiation."""
    peer: ipaddress.IPv4Address | None = attrs.field(default=None, converter=_peer)
    """The peer's address, given to it when it asks and demanded of it when it says another; None takes what it says."""
    dns: tuple[ipaddress.IPv4Address, ...] = attrs.field(default=(), converter=_servers)
    """Name servers to tell the peer when it asks, at most two."""
    ask_dns: bool = False
    """Ask the peer for name servers."""

    def __attrs_post_init__(self) -> None:
        if self.peer is not None and self.peer.is_unspecified:
            raise ConfigurationError("peer", "0.0.0.0 is no address to give to the peer; None takes what it says")
        if self.peer is not None and self.peer == self.local:
            raise ConfigurationError("peer", f"{self.peer} is our own address")
        if len(self.dns) > 2:
            raise ConfigurationError("dns", "IPCP carries two name servers at most (RFC 1877)")


def _interface_id(value: Any) -> int | None:
    return _identifier("interface_id", value)


def _peer_interface_id(value: Any) -> int | None:
    return _identifier("peer_interface_id", value)


@attrs.frozen
class Ipv6Options:
    """IPv6 over the link (IPV6CP, RFC 5072). An identifier is an address such as "fe80::1", or its low 64 bits."""

    interface_id: int | None = attrs.field(default=None, converter=_interface_id)
    """Our interface identifier; None draws a random one."""
    peer_interface_id: int | None = attrs.field(default=None, converter=_peer_interface_id)
    """The identifier to give to a peer that has none; None draws a random one."""

    def __attrs_post_init__(self) -> None:
        if self.interface_id is not None and self.interface_id == self.peer_interface_id:
            raise ConfigurationError("peer_interface_id", "is our own interface_id")


def _methods(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    names = (value,) if isinstance(value, str) else tuple(value)
    for name in names:
        if name not in METHODS:
            raise ConfigurationError("require", f"{name!r} is unknown; there are 'pap' and 'chap'")
    return names


def _hidden(value: object) -> str:
    return "None" if value is None else "..."


@attrs.frozen(kw_only=True)
class Ppp:
    """PPP on a line, with everything that is negotiated. Raises `ConfigurationError` for values that cannot work.

    Both ends may be made from equal values: PPP is symmetrical, but for who authenticates whom and who gives addresses.
    """

    mru: int = 1500
    """The largest packet that we take, in bytes (RFC 1661 section 6.1); 128 to 65535."""
    accm: int = 0
    """Control characters that the peer has to escape towards us, bit n for character n (RFC 1662 section 7.1).

    0: none. A line with software flow control needs 0x000A0000 (XON and XOFF); these two are then escaped towards the
    peer, too, whatever it asks for.
    """
    auth: Pap | Chap | None = None
    """How we prove who we are, where the peer wants it."""
    require: tuple[str, ...] = attrs.field(default=(), converter=_methods)
    """How the peer has to prove who it is: "pap", "chap", or several in order of preference."""
    secrets: Secrets | None = attrs.field(default=None, repr=_hidden)
    """The peers' secrets: a mapping from name to secret, or a function of the name (None for an unknown one)."""
    name: str = "eqlbond"
    """What we call ourselves in CHAP challenges."""
    rechallenge: float | None = None
    """Seconds between CHAP challenges on an open link; None: only at the start."""
    role: str = "caller"
    """"caller": gives up a peer that does not answer. "answerer": keeps waiting for the peer's first word."""
    magic: bool = True
    """Negotiate a magic number, by which a looped-back line is found (RFC 1661 section 6.4)."""
    pfc: bool = True
    """Compress protocol numbers (RFC 1661 section 6.5)."""
    acfc: bool = True
    """Leave out address and control (RFC 1661 section 6.6)."""
    fcs32: bool = True
    """Use the 32-bit check where the peer takes it (RFC 1570 section 2.1)."""
    mrru: int | None = None
    """The largest packet that we reassemble; None: no Multilink (RFC 1990 section 5.1.1)."""
    short_sequence: bool = False
    """Ask for the short Multilink header (RFC 1990 section 5.1.2)."""
    endpoint: EndpointDiscriminator | None = None
    """Who this system is, the same on all its lines (RFC 1990 section 5.1.3)."""
    min_mtu: int = 128
    """The smallest MRU of the peer's that we agree to."""
    min_mrru: int = 576
    """The smallest MRRU of the peer's that we agree to."""
    echo_interval: float = 10.0
    """Seconds between Echo-Requests; 0: none."""
    echo_failure: int = 6
    """Echo-Requests without a sign of life before the line is given up."""
    identification: str | None = None
    """A text that tells the peer what we are (RFC 1570 section 1.1); None: say nothing."""
    ip: IpOptions | None = IpOptions()
    """IPv4; None: refuse it."""
    ipv6: Ipv6Options | None = None
    """IPv6; None: refuse it."""
    restart: float = 3.0
    """Seconds before a request is repeated; longer for lines with a round trip above that."""
    max_configure: int = 10
    """Configure-Requests without an answer before the peer is given up."""
    max_terminate: int = 2
    """Terminate-Requests without an answer before the link is dropped."""
    max_failure: int = 5
    """Configure-Naks without agreement before an option is given up."""
    establish_timeout: float = 120.0
    """Seconds from the first frame of either side to the Network phase, whatever the peer does."""

    def __attrs_post_init__(self) -> None:
        for field, low, high in (
            ("mru", 128, 65535),
            ("accm", 0, 0xFFFFFFFF),
            ("min_mtu", 1, 65535),
            ("min_mrru", 1, 65535),
            ("echo_failure", 1, 1000),
            ("max_configure", 1, 1000),
            ("max_terminate", 1, 1000),
            ("max_failure", 1, 100),
        ):
            value = getattr(self, field)
            if not isinstance(value, int) or not low <= value <= high:
                raise ConfigurationError(field, f"must be a whole number from {low} to {high}, not {value!r}")
        if self.mrru is not None and not (isinstance(self.mrru, int) and 1500 <= self.mrru <= 65535):
            # RFC 1990 section 5.1.1: every system can take a reassembled packet of 1500 bytes.
            raise ConfigurationError("mrru", f"must be from 1500 to 65535, not {self.mrru!r}")
        if self.short_sequence and self.mrru is None:
            raise ConfigurationError("short_sequence", "needs Multilink: set mrru")
        if not self.echo_interval >= 0:
            raise ConfigurationError("echo_interval", "must be seconds above 0, or 0 for no Echo-Requests")
        for field in ("restart", "establish_timeout"):
            if not getattr(self, field) > 0:
                raise ConfigurationError(field, "must be seconds above 0")
        if self.rechallenge is not None and not self.rechallenge > 0:
            raise ConfigurationError("rechallenge", "must be seconds above 0, or None")
        if self.role not in ("caller", "answerer"):
            raise ConfigurationError("role", f"must be 'caller' or 'answerer', not {self.role!r}")
        if self.require and self.secrets is None:
            raise ConfigurationError("secrets", "who has to prove itself against what? Give a mapping or a function")
        if self.secrets is not None and not self.require:
            raise ConfigurationError("require", "secrets are given, but no method: set require='chap'")
        for field, kinds, what in (
            ("auth", (Pap, Chap), "Pap(name, secret) or Chap(name, secret)"),
            ("endpoint", EndpointDiscriminator, 'such as EndpointDiscriminator.local("site7")'),
            ("identification", str, "text"),
            ("ip", IpOptions, "IpOptions(...)"),
            ("ipv6", Ipv6Options, "Ipv6Options(...)"),
        ):
            value = getattr(self, field)
            if value is not None and not isinstance(value, kinds):
                raise ConfigurationError(field, f"must be {what}, or None; not {type(value).__name__}")
        if not 1 <= len(self.name.encode()) <= 255:
            raise ConfigurationError("name", "must have 1 to 255 bytes")

    def framer(self, mtu: int) -> HdlcFramer:
        """The framing by itself, as it is before LCP: PPP's own connections take care of the rest."""
        return HdlcFramer(max(1500, self.mru, mtu))

    @property
    def escapes_xonxoff(self) -> bool:
        """Whether the line may do software flow control."""
        return self.accm & XON_XOFF == XON_XOFF

    @property
    def timing(self) -> Timing:
        """The timer and the counters."""
        return Timing(self.restart, self.max_configure, self.max_terminate, self.max_failure)

    @property
    def demands(self) -> tuple[AuthenticationProtocol, ...]:
        """The authentication protocols that we accept from the peer, the preferred first."""
        return tuple(METHODS[name] for name in self.require)
