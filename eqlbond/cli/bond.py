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
import socket
import stat
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

from eqlbond.aio.master import Master
from eqlbond.cli import options
from eqlbond.events import SlaveDown, SlaveUp
from eqlbond.exceptions import BondClosed, ConfigurationError, LineError, PacketTooBig, QueueFull
from eqlbond.packet import Packet

_LENGTH = struct.Struct("!H")
_EPILOG = """\
examples:
  eqlbond bond --line /dev/ttyUSB0,57600 --line /dev/ttyUSB1,14400 --udp 127.0.0.1:5000
      Datagrams sent to UDP port 5000 go over the bond; what arrives goes to whoever sent last.
  eqlbond bond --line /dev/ttyS0,115200 --line /dev/ttyS1,115200 --udp 127.0.0.1:5000 --udp-to 127.0.0.1:5001
  eqlbond bond --line /dev/ttyUSB0,57600,rate=33600,bits_per_byte=8 --stdio lines
      Each line of text is a datagram.

  eqlbond bond --line rfc2217://shed:4001,57600 --line socket://shed:4002,14400 --udp 127.0.0.1:5000
      Ports of a terminal server.

options of a line: DEVICE[,BAUD][,rate=..][,latency=..][,priority=..][,bits_per_byte=..][,rtscts=1][,low_latency=1]
  [,parity=..][,stopbits=..][,name=..]
  [,half_duplex=1], or what is not as usual: [,half_duplex=turnaround:0.5/burst:5/pause:0.8/persistence:0.25/slot:0.1]
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the description and the options of this command."""
    parser.description = __doc__
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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


def _address(option: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ConfigurationError(option, f"HOST:PORT such as 127.0.0.1:5000, not {text!r}")
    return host.strip("[]"), int(port)


async def _resolve(option: str, text: str) -> Any:
    host, port = _address(option, text)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise ConfigurationError(option, f"no address for {host!r}: {error.strerror}") from None
    return found[0][4]


class _UdpPipe(asyncio.DatagramProtocol):
    """UDP on the one side, the bond on the other."""

    def __init__(self, master: Master, to: Any) -> None:
        self._master = master
        self._fixed = to
        self._last: Any = to
        self._transport: asyncio.DatagramTransport | None = None
        self.empty = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # by its methods; asyncio's own is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if self._fixed is None:
            self._last = addr
        if not data:  # SLIP carries none
            self.empty += 1
            return
        # A full queue drops, as a router does; the bond counts it. One that is closed takes no more: the command ends.
        with contextlib.suppress(QueueFull, PacketTooBig, BondClosed):
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
    """Cuts standard input into datagrams.

    An over-long one is skipped and counted, whatever its length; so is an empty one, which SLIP cannot carry.

    Args:
        how: ``"lines"``, or ``"length"`` for two bytes of length before each, big-endian.
        mtu: the largest datagram, bytes.
    """

    def __init__(self, how: str, mtu: int) -> None:
        self._by_length = how == "length"
        self._mtu = mtu
        self._rest = b""
        self._skip = 0
        self._skipping = False
        self.too_long = 0
        self.empty = 0

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
        return self._good_lines([last])

    def _good_lines(self, lines: list[bytes]) -> list[bytes]:
        good = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if not line:
                self.empty += 1
            elif len(line) > self._mtu:
                self.too_long += 1
            else:
                good.append(line)
        return good

    def _feed_lines(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._skipping and lines:
            del lines[0]
            self._skipping = False
        good = self._good_lines(lines)
        if len(self._rest) > self._mtu + 1:  # one more for the CR of a CR LF
            if not self._skipping:
                self.too_long += 1
            self._skipping = True
        if self._skipping:
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
            if size:
                good.append(data[at + 2 : at + 2 + size])
            else:
                self.empty += 1
            at += 2 + size
        self._rest = data[at:]
        return good


def _say(text: str) -> None:
    with contextlib.suppress(BlockingIOError):  # standard error may be the terminal that standard output is
        print(f"eqlbond: {text}", file=sys.stderr, flush=True)


async def _read_stdin(master: Master, how: str) -> None:
    datagrams = Datagrams(how, master.mtu)
    async for data in _chunks_of_stdin():
        for datagram in datagrams.feed(data):
            await master.send(datagram)
    for datagram in datagrams.end():
        await master.send(datagram)
    if datagrams.incomplete:
        _say("standard input ended within a datagram")
    if datagrams.empty:
        _say(f"skipped {datagrams.empty} empty datagrams")
    if datagrams.too_long:
        _say(f"skipped {datagrams.too_long} datagrams over the MTU of {master.mtu} bytes")
    await master.drain()


async def _write_stdout(master: Master, how: str) -> None:
    """Write what arrives. Where nobody takes it the bond's own limit holds; beyond it packets are counted as lost."""
    async for packet in master:
        data = _LENGTH.pack(len(packet.payload)) + packet.payload if how == "length" else packet.payload + b"\n"
        while data:
            try:
                data = data[os.write(1, data) :]
            except BlockingIOError:
                await _writable(1)


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, ready.set_result, None)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


@contextlib.contextmanager
def _stdout_not_blocking() -> Iterator[None]:
    """Inside, writing does not block; afterwards all is as before: a terminal's setting is the shell's, too."""
    before = []
    for descriptor in (0, 1):
        with contextlib.suppress(OSError):
            before.append((descriptor, os.get_blocking(descriptor)))
    with contextlib.suppress(OSError):
        os.set_blocking(1, False)
    try:
        yield
    finally:
        for descriptor, blocking in before:
            with contextlib.suppress(OSError):
                os.set_blocking(descriptor, blocking)


async def _tell(master: Master) -> None:
    async for event in master.events():
        match event:
            case SlaveUp(slave=slave):
                _say(f"{slave.name} is up")
            case SlaveDown(slave=slave, reason=reason):
                _say(f"{slave.name} is down: {reason}")


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
    local = None if args.udp is None else _address("udp", args.udp)
    to = None if args.udp_to is None else await _resolve("udp-to", args.udp_to)
    deliver: list[Callable[[list[Packet]], None]] = []
    master = Master(
        [options.line_slave(text) for text in args.line],
        scheduler=options.SCHEDULERS[args.scheduler](),
        mtu=args.mtu,
        on_packets=None if local is None else lambda packets: deliver[0](packets) if deliver else None,
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    telling = asyncio.ensure_future(_tell(master))
    await asyncio.sleep(0)
    tasks: list[asyncio.Future[Any]] = []
    pipes: list[asyncio.Future[None]] = []
    pipe: _UdpPipe | None = None
    try:
        async with master:
            udp: asyncio.DatagramTransport | None = None
            if local is not None:
                udp, pipe = await loop.create_datagram_endpoint(lambda: _UdpPipe(master, to), local_addr=local)
                deliver.append(pipe.deliver)
                host, port = udp.get_extra_info("sockname")[:2]
                _say(f"datagrams at {host} port {port}")
            else:
                reading = asyncio.ensure_future(_read_stdin(master, args.stdio))
                reading.add_done_callback(lambda task: stop.set() if args.quit or _went_wrong(task) else None)
                writing = asyncio.ensure_future(_write_stdout(master, args.stdio))
                writing.add_done_callback(lambda task: stop.set() if _went_wrong(task) else None)
                pipes = [reading, writing]
            if args.retry > 0:
                tasks.append(asyncio.ensure_future(_reopen(master, args.retry)))
            try:
                await stop.wait()
            finally:
                if udp is not None:
                    udp.close()
                tasks += pipes[:1]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                stats = master.stats()
        await asyncio.wait(pipes, timeout=1.0) if pipes else None  # what has arrived is written, if somebody takes it
        for task in pipes:
            if task.done() and not task.cancelled():
                task.result()
    finally:
        for task in (telling, *pipes):
            task.cancel()
        await asyncio.gather(telling, *pipes, return_exceptions=True)
    if pipe is not None and pipe.empty:
        _say(f"skipped {pipe.empty} empty datagrams")
    _say(
        f"sent {stats.packets_accepted} datagrams, {stats.payload_accepted} bytes; "
        f"received {stats.packets_delivered}, {stats.payload_delivered} bytes"
    )
    return 0


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    logging.basicConfig(level=logging.DEBUG if args.verbose else logging.ERROR, format="eqlbond: %(message)s")
    if args.stdio is not None and args.udp_to is not None:
        raise ConfigurationError("udp-to", "only with --udp")
    if args.udp is not None and args.quit:
        raise ConfigurationError("quit", "only with --stdio")
    try:
        with contextlib.nullcontext() if args.stdio is None else _stdout_not_blocking():
            return asyncio.run(_run(args))
    except OSError as error:
        if isinstance(error, LineError | BrokenPipeError):
            raise
        _say(f"{error}")
        return 1
