"""A TUN interface of Linux, and its bond."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_interface
from types import TracebackType
from typing import Self, TypeVar

from eqlbond.aio.event_stream import EventStream
from eqlbond.aio.master import Master
from eqlbond.events import BondUp, NetworkUp
from eqlbond.exceptions import ConfigurationError, EqlbondError, LineError
from eqlbond.ppp.network import Addresses
from eqlbond.tun.device import Interface, in_namespace, open_tun
from eqlbond.tun.network import LinkSettings
from eqlbond.tun.pump import TunPump, TunStats
from eqlbond.tun.settings import (
    IPV6_LEAST_MTU,
    Assigned,
    Route,
    check_addresses,
    check_ipv6_fits,
    check_mtu,
    check_name,
    check_routes,
)

T = TypeVar("T")


class TunInterface:
    """A network interface that carries what a bond carries.

    ::

        async with TunInterface("eql0", addresses="10.0.0.1", peers="10.0.0.2", routes="default") as tun:
            await tun.attach(master)

    Entering opens the interface, or makes it. One that it made is gone when it closes, with its addresses and routes;
    from one that was there before, what was added is removed. An existing default route is never taken away.

    Opening an interface that was made for this user needs no rights, as long as everything that is asked for here is
    set already; then pyroute2 is not needed either, unless addresses or routes are named.

    Args:
        name: of the interface; ``%d`` in it lets the kernel choose a number.
        addresses: ours, such as ``"10.0.0.1/30"``, or a list of them. Empty: those that PPP agrees on, if any.
        peers: the far end's, one of each family; the address beside it is a point-to-point one then.
        routes: what is reached through the bond, such as ``"10.1.0.0/16"``, ``"default"``, ``"::/0"``, or a `Route`.
        mtu: bytes; None: the bond's, and an interface that was there before keeps its own.
        clamp_mss: hold TCP connections, in both directions, to segments that fit the bond. For routers behind
            which path MTU discovery does not work.
        ecn: have TCP connections that begin here ask for explicit congestion notification (RFC 3168), so that a bond
            with a fair queue need not drop to slow them down. A feature of the interface's routes; those of an
            interface that was there before are left as they are.
        namespace: the network namespace to have it in, a name or a path; entering one needs CAP_SYS_ADMIN.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    def __init__(
        self,
        name: str = "eql%d",
        *,
        addresses: str | Iterable[str] = (),
        peers: str | Iterable[str] = (),
        routes: str | Route | Iterable[str | Route] = (),
        mtu: int | None = None,
        clamp_mss: bool = False,
        ecn: bool = True,
        namespace: str | None = None,
    ) -> None:
        self.name = check_name(name)
        self._addresses = check_addresses(addresses, peers)
        self._routes = check_routes(routes)
        self._mtu = check_mtu(mtu)
        if mtu is not None:
            check_ipv6_fits(self._addresses, self._routes, mtu)
        if not isinstance(clamp_mss, bool):
            raise ConfigurationError("clamp_mss", f"True or False, not {clamp_mss!r}")
        if not isinstance(ecn, bool):
            raise ConfigurationError("ecn", f"True or False, not {ecn!r}")
        if namespace is not None and (not isinstance(namespace, str) or not namespace):
            raise ConfigurationError("namespace", f"a name, a path, or None, not {namespace!r}")
        self._clamp_mss = clamp_mss
        self._ecn = ecn
        self._namespace = namespace
        self._fd = -1
        self._existed = False
        self._interface: Interface | None = None
        self._settings: LinkSettings | None = None
        self._pump: TunPump | None = None
        self._follower: asyncio.Task[None] | None = None
        self._master: Master | None = None
        self._applying = asyncio.Lock()
        self._negotiated: tuple[Assigned, ...] = ()
        # Netlink blocks, and a namespace is a thread's: both are left to one thread.
        self._thread: ThreadPoolExecutor | None = None
        self._last = TunStats(0, 0, 0, 0, 0, 0, 0, {})
        self._log = logging.getLogger("eqlbond.tun")

    def __repr__(self) -> str:
        state = "closed" if self._fd < 0 else "open" if self._pump is None else "attached"
        return f"<TunInterface {self.name} {state}>"

    # -- opening and closing

    async def open(self) -> None:
        """Open or make the interface, with its addresses. `async with` does it.

        Raises:
            DevicePermission: this user may not; the message says what is missing and how to do without.
            DeviceNotFound: the kernel has no TUN, or there is no such namespace.
            DeviceBusy: another process is attached to it.
            LineError: it cannot be made or set.
        """
        if self._fd >= 0:
            return
        self._thread = ThreadPoolExecutor(1, "eqlbond-tun")
        try:
            await self._in_thread(self._make)
        except BaseException:
            await self.close()
            raise

    def _make(self) -> None:
        self._fd, self.name, self._existed = open_tun(self.name)
        self._interface = Interface(self.name)
        self._settings = LinkSettings(self.name)
        if self._mtu is not None:
            self._set_mtu(self._mtu)
        if self._addresses or self._routes:
            self._settings.add_addresses(self._addresses)
        if not self._interface.is_up():
            self._settings.set_link(up=True)
        self._add_routes(self._routes if self._mtu is not None or self._existed else ())

    def _add_routes(self, routes: Sequence[Route]) -> None:
        assert self._settings is not None
        if routes:
            self._settings.add_routes(routes)
        if self._ecn and not self._existed:
            self._settings.ask_for_ecn()

    def _set_mtu(self, mtu: int) -> None:
        assert self._interface is not None
        assert self._settings is not None
        if self._interface.mtu() != mtu:
            self._settings.set_link(mtu=mtu)

    async def close(self) -> None:
        """Detach, take away what was set, and close. May be called again."""
        await self.detach()
        if self._thread is None:
            return
        try:
            await self._in_thread(self._unmake)
        finally:
            thread, self._thread = self._thread, None
            thread.shutdown(wait=False)

    def _unmake(self) -> None:
        if self._settings is not None and self._existed:
            self._settings.remove_added()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._interface is not None:
            self._interface.close()
            self._interface = None
        self._settings = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run it in the interface's thread and namespace, to its end even when the caller is cancelled."""
        thread = self._thread
        assert thread is not None

        def run() -> T:
            with in_namespace(self._namespace):
                return work()

        future = asyncio.get_running_loop().run_in_executor(thread, run)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            future.exception()
            raise

    # -- the bond

    async def attach(self, master: Master) -> None:
        """Carry packets between the interface and the bond, from now on until one of them is closed.

        The interface gets the bond's MTU, unless it was given one or was there before. The bond's packets must not
        be taken by anything else.

        Raises:
            BondClosed: the bond is not open.
            ConfigurationError: IPv6 is asked for, and the bond's MTU is too small for it.
            LineError: the interface is not open, or cannot be set.
            RuntimeError: it is attached, or something else takes the bond's packets.
        """
        interface = self._interface
        if interface is None:
            raise LineError(self.name, "the interface is not open: use 'async with' or await open()")
        if self._pump is not None:
            raise RuntimeError(f"{self.name} is attached to a bond already")
        master.when_room(lambda: None)  # tells a bond that is not open
        if self._mtu is None and not self._existed:
            check_ipv6_fits(self._addresses, self._routes, master.mtu)
            await self._in_thread(lambda: self._take_mtu(master.mtu))
        size = interface.mtu()
        mss = min(master.mtu, size) if self._clamp_mss else None
        pump = TunPump(self._fd, master, size, mss=mss, on_failure=self._failed)
        pump.start()
        self._pump = pump
        self._master = master
        events = master.events()  # before the addresses are read: what changes while they are set is not missed
        await self._apply(master.addresses)
        self._follower = asyncio.create_task(self._follow(master, events))

    def _take_mtu(self, mtu: int) -> None:
        assert self._settings is not None
        self._set_mtu(mtu)
        self._add_routes(self._routes)

    async def detach(self) -> None:
        """Carry no packets any more; the interface stays."""
        self._master = None
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.close()
            self._last = pump.stats()

    async def settled(self) -> None:
        """Wait until the interface has the addresses that PPP has agreed on by now. Raises as setting them does."""
        if self._master is not None:
            await self._apply(self._master.addresses)

    def _failed(self, error: OSError) -> None:
        self._log.error("%s: cannot be read any more: %s", self.name, error.strerror)

    async def _follow(self, master: Master, events: EventStream) -> None:
        async for event in events:
            if isinstance(event, BondUp | NetworkUp):
                try:
                    await self._apply(master.addresses)
                except (EqlbondError, OSError) as error:  # pyroute2 may be missing, or the interface gone
                    self._log.error("the agreed addresses could not be set: %s", error)

    async def _apply(self, agreed: Addresses) -> None:
        """Set what PPP has agreed on, where no addresses were given."""
        if self._addresses:
            return
        async with self._applying:
            await self._apply_one(agreed)

    async def _apply_one(self, agreed: Addresses) -> None:
        if self._interface is None:
            return
        wanted: list[Assigned] = []
        if agreed.local is not None:
            wanted.append(Assigned(ip_interface(agreed.local), agreed.peer))
        if agreed.local6 is not None and self._interface.mtu() >= IPV6_LEAST_MTU:
            wanted.append(Assigned(ip_interface(f"{agreed.local6}/64")))
        if wanted and tuple(wanted) != self._negotiated:
            await self._in_thread(lambda: self._renumber(tuple(wanted)))
            self._log.info("%s has the addresses %s", self.name, ", ".join(str(a.address.ip) for a in wanted))

    def _renumber(self, wanted: tuple[Assigned, ...]) -> None:
        assert self._settings is not None
        self._settings.remove_addresses([known for known in self._negotiated if known not in wanted])
        self._settings.add_addresses(wanted)
        self._add_routes(self._routes)  # the kernel drops those that had a lost address as their source
        self._negotiated = wanted

    # -- watching

    def fileno(self) -> int:
        """The TUN descriptor, non-blocking. Raises `LineError` where the interface is not open."""
        if self._fd < 0:
            raise LineError(self.name, "the interface is not open")
        return self._fd

    @property
    def mtu(self) -> int:
        """The interface's MTU, bytes. Raises `LineError` where it is not open."""
        if self._interface is None:
            raise LineError(self.name, "the interface is not open")
        return self._interface.mtu()

    def stats(self) -> TunStats:
        """A snapshot, of the last attachment where there is none now."""
        return self._last if self._pump is None else self._pump.stats()


@contextlib.asynccontextmanager
async def bridge(tun: TunInterface, master: Master) -> AsyncIterator[TunInterface]:
    """Have the interface open and attached to the bond for the length of an ``async with`` block."""
    async with tun:
        await tun.attach(master)
        yield tun
