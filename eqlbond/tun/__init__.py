"""A bond as a network interface of Linux: a TUN device that carries what the bond carries.

::

    async with Master(slaves, queue=FqCoDel()) as master, TunInterface("eql0", addresses="10.0.0.1/30") as tun:
        await tun.attach(master)
        ...

Making an interface, and giving it addresses and routes, needs root or CAP_NET_ADMIN, and the extra ``tun`` (pyroute2).
One that was made and set beforehand can be used without any of these (``ip tuntap add dev eql0 mode tun user NAME``).
"""

from eqlbond.tun.interface import TunInterface, bridge
from eqlbond.tun.pump import TunPump, TunStats
from eqlbond.tun.settings import Route

__all__ = ["Route", "TunInterface", "TunPump", "TunStats", "bridge"]
