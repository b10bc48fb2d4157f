"""Addresses, routes and the state of an interface, by netlink (pyroute2). Blocking: called in a thread of its own."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv6Network, ip_network
from typing import Any

from eqlbond.exceptions import ConfigurationError, DeviceNotFound, DevicePermission, LineError
from eqlbond.tun.device import how_without_rights
from eqlbond.tun.settings import Assigned, Network, Route

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_MAIN = 254
_UNIVERSE, _LINK = 0, 253
_UNICAST = 1
_FEATURE_ECN = 1  # of RTAX_FEATURES
_IPV6_METRIC = 1024
"""What the kernel takes for an IPv6 route without a metric."""


class LinkSettings:
    """The netlink side of one interface; remembers what it added, and takes that away again.

    Raises (all methods):
        ConfigurationError: pyroute2 is not installed.
        DevicePermission: CAP_NET_ADMIN is missing.
        LineError: the kernel refuses.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._added: list[tuple[str, dict[str, Any]]] = []  # ("addr" | "route", arguments), oldest first

    @contextlib.contextmanager
    def _netlink(self, doing: str) -> Iterator[tuple[Any, int]]:
        try:
            from pyroute2 import IPRoute
            from pyroute2.netlink.exceptions import NetlinkError
        except ImportError as error:
            problem = "setting an interface needs pyroute2: pip install 'eqlbond[tun]'"
            raise ConfigurationError("tun", problem) from error
        try:
            with IPRoute() as netlink:
                found = netlink.link_lookup(ifname=self.name)
                if not found:
                    raise DeviceNotFound(self.name, "the interface is gone")
                yield netlink, found[0]
        except NetlinkError as error:
            if error.code in (errno.EPERM, errno.EACCES):
                what = how_without_rights(self.name)
                raise DevicePermission(self.name, f"{doing} needs CAP_NET_ADMIN. Without it: {what}") from error
            raise LineError(self.name, f"{doing}: {error}") from error

    def set_link(self, *, mtu: int | None = None, up: bool | None = None) -> None:
        """Set the MTU, bytes, and whether it is up."""
        arguments: dict[str, Any] = {}
        if mtu is not None:
            arguments["mtu"] = mtu
        if up is not None:
            arguments["state"] = "up" if up else "down"
        if arguments:
            with self._netlink("setting " + " and ".join(arguments)) as (netlink, index):
                netlink.link("set", index=index, **arguments)

    def add_addresses(self, addresses: Iterable[Assigned]) -> None:
        """Add those that it has not."""
        for assigned in addresses:
            with self._netlink(f"setting the address {assigned.address}") as (netlink, index):
                if (assigned.address.ip, assigned.peer, assigned.prefix) in self._addresses(netlink, index):
                    continue
                arguments = self._address(index, assigned)
                netlink.addr("add", **arguments)
                self._added.append(("addr", arguments))

    def remove_addresses(self, addresses: Iterable[Assigned]) -> None:
        """Remove those of them that were added here."""
        for assigned in addresses:
            with self._netlink(f"removing the address {assigned.address}") as (netlink, index):
                entry = ("addr", self._address(index, assigned))
                if entry in self._added:
                    self._added.remove(entry)
                    netlink.addr("del", **entry[1])

    @staticmethod
    def _address(index: int, assigned: Assigned) -> dict[str, Any]:
        local = str(assigned.address.ip)
        return {
            "index": index,
            "family": _FAMILIES[assigned.address.version],
            "local": local,
            "address": local if assigned.peer is None else str(assigned.peer),
            "prefixlen": assigned.prefix,
        }

    def _addresses(self, netlink: Any, index: int) -> set[tuple[Any, Any, int]]:
        from ipaddress import ip_address

        found = set()
        for entry in netlink.get_addr(index=index):
            address = ip_address(entry.get_attr("IFA_ADDRESS"))
            local = entry.get_attr("IFA_LOCAL")
            local = address if local is None else ip_address(local)
            found.add((local, None if local == address else address, int(entry["prefixlen"])))
        return found

    def add_routes(self, routes: Sequence[Route]) -> None:
        """Add those that are not there.

        A default route that would not win is not put in the place of the one that does: that one stays, and both
        halves of the address space are routed here. So nothing has to be restored, even if this process is killed.
        """
        for route in routes:
            with self._netlink(f"adding the route {route.destination}") as (netlink, index):
                network = route.network
                there = list(self._routes(netlink, network))
                metric = route.metric
                least = _IPV6_METRIC if network.version == 6 else 0
                if any(out == index and (metric is None or theirs == metric) for out, theirs in there):
                    continue
                ours = least if metric is None else metric
                if network.prefixlen == 0 and any(theirs <= ours for _, theirs in there):
                    for half in network.subnets(prefixlen_diff=1):
                        if not any(out == index for out, _ in self._routes(netlink, half)):
                            self._add_route(netlink, index, half, metric)
                else:
                    self._add_route(netlink, index, network, metric)

    def _add_route(self, netlink: Any, index: int, network: Network, metric: int | None) -> None:
        arguments: dict[str, Any] = {
            "family": _FAMILIES[network.version],
            "dst": str(network),
            "oif": index,
            "scope": _UNIVERSE if isinstance(network, IPv6Network) else _LINK,
        }
        if metric is not None:
            arguments["priority"] = metric
        netlink.route("add", **arguments)
        self._added.append(("route", arguments))

    @staticmethod
    def _main_table(netlink: Any, family: int) -> Iterator[Any]:
        """The unicast routes of the main table."""
        for entry in netlink.get_routes(family=family, table=_MAIN):
            if entry["type"] == _UNICAST and entry.get_attr("RTA_TABLE") == _MAIN:
                yield entry

    def _routes(self, netlink: Any, network: Network) -> Iterator[tuple[int | None, int]]:
        """Interface and metric of each route to the network."""
        for entry in self._main_table(netlink, _FAMILIES[network.version]):
            if entry["dst_len"] != network.prefixlen:
                continue
            destination = entry.get_attr("RTA_DST")
            found = ip_network(f"{destination}/{entry['dst_len']}") if destination else None
            if found == network or (found is None and network.prefixlen == 0):
                yield entry.get_attr("RTA_OIF"), entry.get_attr("RTA_PRIORITY") or 0

    def ask_for_ecn(self) -> None:
        """Have TCP ask for explicit congestion notification (RFC 3168) by every route through the interface.

        It is a feature of the route, so that the system's other connections are as before. The far end answers as its
        system is set; Linux's default is to agree.
        """
        with self._netlink("asking for ECN") as (netlink, index):
            for family in _FAMILIES.values():
                for entry in list(self._main_table(netlink, family)):
                    if entry.get_attr("RTA_OIF") != index:
                        continue
                    arguments: dict[str, Any] = {
                        "family": family,
                        "dst": f"{entry.get_attr('RTA_DST') or _ANY[family]}/{entry['dst_len']}",
                        "oif": index,
                        "scope": entry["scope"],
                        "proto": entry["proto"],
                        "metrics": {"features": _FEATURE_ECN},
                    }
                    for name, attribute in (("prefsrc", "RTA_PREFSRC"), ("priority", "RTA_PRIORITY")):
                        if entry.get_attr(attribute):
                            arguments[name] = entry.get_attr(attribute)
                    netlink.route("replace", **arguments)

    def remove_added(self) -> None:
        """Take away what was added here, for an interface that stays."""
        added, self._added = self._added, []
        for kind, arguments in reversed(added):
            with contextlib.suppress(LineError), self._netlink("removing what was set") as (netlink, _):
                getattr(netlink, kind)("del", **arguments)
