"""``eqlbond bond``: a bond over given devices as a plain datagram pipe.

Datagrams come from and go to a UDP socket on this machine, or standard input and output. No root, no
network interface: two machines with two cables between them can use it as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import stat
import struct
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from eqlbond.aio.master import Master
from eqlbond.cli import options
from eqlbond.events import SlaveDown, SlaveUp
from eqlbond.exceptions import ConfigurationError, LineError, PacketTooBig, QueueFull
from eqlbond.packet import Packet

_LENGTH = struct.Struct("!H")
_EPILOG = """\
examples:
  eqlbond bond --line /dev/ttyUSB0,57600 --line /dev/ttyUSB1,14400 --udp 127.0.0.1:5000
      Datagrams sent to UDP port 5000 go over the bond; what arrives goes to whoever sent last.
  eqlbond bond --line /dev/ttyS0,115200 --line /dev/ttyS1,115200 --udp 127.0.0.1:5000 --udp-to 127.0.0.1:5001
  eqlbond bond --line /dev/ttyUSB0,57600,rate=33600,bits_per_byte=8 --stdio lines
      Each line of text is a datagram.

options of a line: DEVICE[,BAUD][,rate=..][,latency=..][,priority=..][,bits_per_byte=..][,rtscts=1][,low_latency=1]
"""


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "bond",
        help="a bond over given devices as a datagram pipe (UDP or stdin/stdout)",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--line", action="append", required=True, metavar="DEVICE[,BAUD][,OPTION=VALUE...]")
    pipe = parser.add_mutually_exclusive_group(required=True)
    pipe.add_argument("--udp", metavar="HOST:PORT", help="take datagrams at this UDP address")
    pipe.add_argument(
        "--stdio",
        choices=("lines", "length"),
        help="datagrams on stdin/stdout: a line of text each, or each behind its length in two bytes, big-endian",
    )
    parser.add_argument("--quit", action="store_true", help="with --stdio: leave when standard input ends")
    parser.add_argument("--udp-to", metavar="HOST:PORT", help="send what arrives there; default: to the last sender")
    parser.add_argument("--mtu", type=int, default=1500, help="largest datagram, bytes; default 1500")
    parser.add_argument(
        "--retry", type=float, default=2.0, metavar="SECONDS", help="reopen lines that are down; 0: never; default 2"
    )
    parser.add_argument("--verbose", action="store_true", help="say more on stderr")
    options.add_scheduler(parser)
    parser.set_defaults(run=run)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigurationError("udp", f"HOST:PORT such as 127.0.0.1:5000, not {text!r}")
    return host.strip("[]"), int(port)


class _UdpPipe(asyncio.DatagramProtocol):
    """UDP on the one side, the bond on the other."""

    def __init__(self, master: Master, to: tuple[str, int] | None) -> None:
        self._master = master
        self._fixed = to
        self._last: Any = to
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self._fixed is None:
            self._last = addr
        # A full queue drops, as a router does; the bond counts it.
        with contextlib.suppress(QueueFull, PacketTooBig):
            self._master.send_nowait(data)

    def error_received(self, exc: Exception) -> None:
        logging.getLogger("eqlbond").info("UDP: %s", exc)

    def deliver(self, packets: list[Packet]) -> None:
        if self._transport is not None and self._last is not None:
            for packet in packets:
                self._transport.sendto(packet.payload, self._last)


async def _chunks_of_stdin() -> AsyncIterator[bytes]:
    """Standard input as it comes; a terminal or a pipe without a thread, which could not be cancelled."""
    mode = os.fstat(0).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(0)):
        while data := await asyncio.to_thread(os.read, 0, 65536):
            yield data
        return
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", buffering=0, closefd=False)
    )
    try:
        while data := await reader.read(65536):
            yield data
    finally:
        transport.close()


class Datagrams:
    """Cuts standard input into datagrams; an over-long one is skipped and counted, whatever its length."""

    def __init__(self, how: str, mtu: int) -> None:
        self._by_length = how == "length"
        self._mtu = mtu
        self._rest = b""
        self._skip = 0
        self._skipping = False
        self.too_long = 0

    @property
    def incomplete(self) -> bool:
        """Whether the input stands within a datagram."""
        return bool(self._rest or self._skip)

    def feed(self, data: bytes) -> list[bytes]:
        """Take input; return the datagrams that it completes."""
        return self._feed_lengths(data) if self._by_length else self._feed_lines(data)

    def end(self) -> list[bytes]:
        """The input has ended: a last line without a newline is a datagram, too."""
        if self._by_length or not self._rest or self._skipping:
            return []
        last, self._rest = self._rest, b""
        return [last]

    def _feed_lines(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._skipping and lines:
            del lines[0]
            self._skipping = False
        good = [line.rstrip(b"\r") for line in lines if len(line) <= self._mtu + 1]
        self.too_long += len(lines) - len(good)
        if len(self._rest) > self._mtu + 1:
            if not self._skipping:
                self.too_long += 1
            self._skipping = True
            self._rest = b""
        return good

    def _feed_lengths(self, data: bytes) -> list[bytes]:
        data = self._rest + data
        good = []
        at = 0
        while True:
            if self._skip:
                step = min(self._skip, len(data) - at)
                at += step
                self._skip -= step
                if self._skip:
                    break
            if len(data) - at < 2:
                break
            (size,) = _LENGTH.unpack_from(data, at)
            if size > self._mtu:
                self.too_long += 1
                at += 2
                self._skip = size
                continue
            if len(data) - at - 2 < size:
                break
            good.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        self._rest = data[at:]
        return good


async def _read_stdin(master: Master, how: str) -> None:
    datagrams = Datagrams(how, master.mtu)
    async for data in _chunks_of_stdin():
        for datagram in datagrams.feed(data):
            await master.send(datagram)
    for datagram in datagrams.end():
        await master.send(datagram)
    if datagrams.incomplete:
        print("eqlbond: standard input ended within a datagram", file=sys.stderr)
    if datagrams.too_long:
        print(f"eqlbond: skipped {datagrams.too_long} datagrams over the MTU of {master.mtu} bytes", file=sys.stderr)
    await master.drain()


def _write_stdout(how: str) -> Callable[[list[Packet]], None]:
    def deliver(packets: list[Packet]) -> None:
        for packet in packets:
            if how == "length":
                sys.stdout.buffer.write(_LENGTH.pack(len(packet.payload)) + packet.payload)
            else:
                sys.stdout.buffer.write(packet.payload + b"\n")
        sys.stdout.buffer.flush()

    return deliver


async def _tell(master: Master) -> None:
    async for event in master.events():
        match event:
            case SlaveUp(slave=slave):
                print(f"eqlbond: {slave.name} is up", file=sys.stderr)
            case SlaveDown(slave=slave, reason=reason):
                print(f"eqlbond: {slave.name} is down: {reason}", file=sys.stderr)


async def _reopen(master: Master, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        for slave in master.slaves:
            if not slave.up and (slave.connection is None or slave.connection.lost):
                with contextlib.suppress(LineError):
                    await master.reopen(slave)


def _went_wrong(task: asyncio.Future[Any]) -> bool:
    return not task.cancelled() and task.exception() is not None


async def _run(args: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    deliver: list[Callable[[list[Packet]], None]] = []
    master = Master(
        [options.serial_slave(text) for text in args.line],
        scheduler=options.SCHEDULERS[args.scheduler](),
        mtu=args.mtu,
        on_packets=lambda packets: deliver[0](packets) if deliver else None,
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    telling = asyncio.ensure_future(_tell(master))
    await asyncio.sleep(0)
    try:
        async with master:
            tasks: list[asyncio.Future[Any]] = []
            reading: asyncio.Future[None] | None = None
            udp: asyncio.DatagramTransport | None = None
            if args.udp is not None:
                to = None if args.udp_to is None else _address(args.udp_to)
                udp, pipe = await loop.create_datagram_endpoint(
                    lambda: _UdpPipe(master, to), local_addr=_address(args.udp)
                )
                deliver.append(pipe.deliver)
            else:
                deliver.append(_write_stdout(args.stdio))
                reading = asyncio.ensure_future(_read_stdin(master, args.stdio))
                reading.add_done_callback(lambda task: stop.set() if args.quit or _went_wrong(task) else None)
            if args.retry > 0:
                tasks.append(asyncio.ensure_future(_reopen(master, args.retry)))
            await stop.wait()
            if udp is not None:
                udp.close()
            if reading is not None:
                tasks.append(reading)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            stats = master.stats()
            if reading is not None and not reading.cancelled():
                reading.result()
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    print(
        f"eqlbond: sent {stats.packets_accepted} datagrams, {stats.payload_accepted} bytes; "
        f"received {stats.packets_delivered}, {stats.payload_delivered} bytes",
        file=sys.stderr,
    )
    return 0


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    logging.basicConfig(level=logging.DEBUG if args.verbose else logging.ERROR, format="eqlbond: %(message)s")
    try:
        return asyncio.run(_run(args))
    except OSError as error:
        if isinstance(error, LineError):
            raise
        print(f"eqlbond: {error}", file=sys.stderr)
        return 1
