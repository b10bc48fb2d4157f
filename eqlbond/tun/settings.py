"""What a TUN interface is to be: name, addresses, routes, MTU; checked, and without any I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

import attrs

from eqlbond.exceptions import ConfigurationError

Interface = IPv4Interface | IPv6Interface
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

IPV6_LEAST_MTU = 1280
"""Linux has no IPv6 on an interface of a smaller MTU (RFC 8200 section 5)."""
_NAME = re.compile(r"(?!\.{1,2}$)(?:[^\s/:%]|%d){1,15}$")


@attrs.frozen
class Route:
    """A route through the interface.

    Args:
        destination: such as ``10.1.0.0/16``, ``default`` (all of IPv4) or ``::/0``.
        metric: the lower one wins among routes to the same destination; None: the system's default.

    Raises:
        ConfigurationError: it is no network.
    """

    destination: str
    metric: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.metric is not None and (
            isinstance(self.metric, bool) or not isinstance(self.metric, int) or not 0 <= self.metric < 1 << 32
        ):
            raise ConfigurationError("metric", f"a whole number from 0, or None, not {self.metric!r}")
        _ = self.network

    @property
    def network(self) -> Network:
        """The destination."""
        text = "0.0.0.0/0" if self.destination == "default" else self.destination
        try:
            return ip_network(text)
        except (ValueError, TypeError) as error:
            problem = f"a network such as '10.1.0.0/16', 'default' or '::/0', not {self.destination!r} ({error})"
            raise ConfigurationError("routes", problem) from None


@attrs.frozen
class Assigned:
    """An address of the interface, and of its far end where it is a point-to-point one."""

    address: Interface
    peer: Address | None = None

    @property
    def prefix(self) -> int:
        """Bits of the network; of the peer's address where there is one."""
        return self.address.max_prefixlen if self.peer is not None else self.address.network.prefixlen


def check_name(name: object) -> str:
    """A name for an interface; ``%d`` in it lets the kernel choose a number. Raises `ConfigurationError`."""
    if not isinstance(name, str) or not _NAME.match(name) or name.count("%d") > 1:
        raise ConfigurationError("name", f"1 to 15 characters without space, '/' and ':', such as 'eql0', not {name!r}")
    return name


def check_mtu(mtu: object) -> int | None:
    """An MTU for an interface, or None. Raises `ConfigurationError`."""
    if mtu is None or (isinstance(mtu, int) and not isinstance(mtu, bool) and 68 <= mtu <= 65535):
        return mtu
    raise ConfigurationError("mtu", f"bytes from 68 to 65535, or None for the bond's, not {mtu!r}")


def _listed(values: object, field: str) -> list[object]:
    if isinstance(values, str | IPv4Address | IPv6Address | Route):  # an ip_interface is an address, too
        return [values]
    if isinstance(values, Iterable):
        return list(values)
    raise ConfigurationError(field, f"text, or a list, not {values!r}")


def check_addresses(addresses: object, peers: object) -> tuple[Assigned, ...]:
    """Addresses with their peers: each peer belongs to the first address of its family. Raises `ConfigurationError`."""
    interfaces: list[Interface] = []
    for value in _listed(addresses, "addresses"):
        try:
            interfaces.append(ip_interface(value))  # type: ignore[arg-type]
        except ValueError as error:
            problem = f"such as '10.0.0.1/30' or 'fd00::1/64', not {value!r} ({error})"
            raise ConfigurationError("addresses", problem) from None
    far: dict[int, Address] = {}
    for value in _listed(peers, "peers"):
        try:
            peer = ip_address(value)  # type: ignore[arg-type]
        except ValueError as error:
            raise ConfigurationError("peers", f"an address such as '10.0.0.2', not {value!r} ({error})") from None
        if peer.version in far:
            raise ConfigurationError("peers", f"one of each family, not {far[peer.version]} and {peer}")
        if not any(interface.version == peer.version for interface in interfaces):
            raise ConfigurationError("peers", f"{peer} has no address of ours beside it (addresses)")
        far[peer.version] = peer
    return tuple(Assigned(interface, far.pop(interface.version, None)) for interface in interfaces)


def check_routes(routes: object) -> tuple[Route, ...]:
    """Routes, from text or `Route`. Raises `ConfigurationError`."""
    made = []
    for value in _listed(routes, "routes"):
        if not isinstance(value, str | Route):
            raise ConfigurationError("routes", f"text or a Route, not {value!r}")
        made.append(value if isinstance(value, Route) else Route(value))
    return tuple(made)


def check_ipv6_fits(addresses: Iterable[Assigned], routes: Iterable[Route], mtu: int) -> None:
    """Raises `ConfigurationError` where IPv6 is asked for on an MTU that has none."""
    if mtu < IPV6_LEAST_MTU:
        for thing, version in [(str(a.address), a.address.version) for a in addresses] + [
            (r.destination, r.network.version) for r in routes
        ]:
            if version == 6:
                raise ConfigurationError("mtu", f"IPv6 ({thing}) needs {IPV6_LEAST_MTU} bytes, not {mtu}")
