"""One end of the bond of `benchmarks.tun`, in a process of its own, with sockets for lines.

``python -m benchmarks._tun_end NAMESPACE ADDRESS slip|hdlc fifo|fq DESCRIPTOR...`` runs until its standard input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence

from eqlbond import FqCoDel, Hdlc, Master, Slave, Slip
from eqlbond.codec.base import Framing
from eqlbond.tun import TunInterface, bridge

MTU = 1500
NAME = "eqlbench0"
FRAMINGS: dict[str, Framing] = {"slip": Slip(), "hdlc": Hdlc()}
QUEUES = {"fifo": None, "fq": FqCoDel(limit=4 << 20)}


def socket_slave(line: socket.socket, framing: str) -> Slave:
    """A line without a rate."""

    async def connect(factory: Callable[[], asyncio.Protocol]) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        return await asyncio.get_running_loop().create_connection(factory, sock=line)

    return Slave(connect, rate=None, framing=FRAMINGS[framing])


@contextlib.asynccontextmanager
async def bond_end(
    namespace: str, address: str, framing: str, queue: str, lines: Sequence[socket.socket]
) -> AsyncIterator[tuple[TunInterface, Master]]:
    """An interface and its bond."""
    tun = TunInterface(NAME, addresses=f"{address}/30", namespace=namespace)
    slaves = [socket_slave(line, framing) for line in lines]
    async with Master(slaves, mtu=MTU, queue=QUEUES[queue], close_timeout=0.5) as master, bridge(tun, master):
        yield tun, master


async def serve(namespace: str, address: str, framing: str, queue: str, *descriptors: str) -> None:
    """Be there until the parent goes."""
    lines = [socket.socket(fileno=int(descriptor)) for descriptor in descriptors]
    for line in lines:
        line.setblocking(False)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    logging.getLogger("eqlbond").setLevel(logging.ERROR)  # the parent's end closes first
    async with bond_end(namespace, address, framing, queue, lines):
        print("ready", flush=True)
        await reader.read()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
