"""``eqlbond demo``: a real file over four unequal serial lines, here, without hardware.

Two bonds in this process, joined by ptys that a pty wire shapes in real time. Half-way one line is hung up, and a
little later it is enslaved again. The file's own transfer numbers its pieces and asks again for missing ones.
With --multilink the lines speak PPP, and Multilink brings every packet in order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import attrs

from eqlbond.aio.master import Master
from eqlbond.aio.ptywire import PtyWire
from eqlbond.aio.slave import SerialSlave
from eqlbond.cli import options
from eqlbond.cli.transfer import LEAST_MTU, FileReceiver, FileSender
from eqlbond.cli.wire import ending_signals
from eqlbond.codec.slip import Slip
from eqlbond.core.line_model import LineSpec
from eqlbond.core.multilink import Multilink
from eqlbond.exceptions import ConfigurationError, EqlbondError
from eqlbond.ppp.config import Ppp

_FILE_OF_1995 = 289284
_DOWN_FOR = 4.0  # seconds that a line is away, where the file takes long enough
_DOWN_SHARE = 0.2  # of the time that the file takes
_OPEN_TIME = 10.0  # seconds that lines have to come up, and the time that the slowest one takes for
_OPEN_BITS = 12000  # so many; PPP takes some 2200, where no packet is lost


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the description and the options of this command."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--file", type=Path, help="the file to send; default: one of 289284 bytes, as in the 1995 report"
    )
    parser.add_argument(
        "--rates",
        type=options.rates,
        default=[57600.0, 28800.0, 14400.0, 9600.0],
        help="the lines' rates, bit/s; default 57600,28800,14400,9600",
    )
    parser.add_argument("--mtu", type=int, default=900, help="largest packet, bytes; default 900")
    parser.add_argument("--multilink", action="store_true", help="PPP Multilink in place of SLIP: fragments, in order")
    parser.add_argument("--no-cut", action="store_true", help="leave all lines up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the table")
    options.add_scheduler(parser)
    parser.set_defaults(run=run)


@attrs.define
class _Line:
    """A line of the demo, seen from its sending end."""

    rate: float
    up_since: float | None
    up_time: float = 0.0
    sent: int = 0
    note: str = ""

    def mark(self, up: bool, now: float) -> None:
        if up and self.up_since is None:
            self.up_since = now
        elif not up and self.up_since is not None:
            self.up_time += now - self.up_since
            self.up_since = None


def _bar(share: float, width: int = 24) -> str:
    eighths = int(share * width * 8)
    full, part = divmod(min(eighths, width * 8), 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width)


class _Screen:
    """Progress: redrawn in place on a terminal, a line every few seconds elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._live = sys.stdout.isatty() and not quiet
        self._quiet = quiet
        self._drawn = 0
        self._last = 0.0

    def note(self, text: str) -> None:
        if not self._quiet:
            self._clear()
            print(text, flush=True)

    def _clear(self) -> None:
        if self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[J", end="")
            self._drawn = 0

    def draw(self, lines: list[_Line], states: list[str], done: float, elapsed: float, sent: list[int]) -> None:
        if self._quiet:
            return
        if self._live:
            self._clear()
            total = sum(sent) or 1
            for line, state, count in zip(lines, states, sent, strict=True):
                speed = max(0, count - line.sent) / max(elapsed - self._last, 1e-3)
                line.sent = count
                use = min(1.0, speed * 10 / line.rate)
                share = count / total
                print(f"  {line.rate:>8.0f} bit/s  {_bar(use)} {speed:>7.0f} B/s {share:>5.0%} of the bytes  {state}")
            print(f"  {'file':>14}  {_bar(done)} {done:>7.0%}  {elapsed:.1f} s", flush=True)
            self._drawn = len(lines) + 1
            self._last = elapsed
        elif elapsed - self._last >= 5.0:
            self._last = elapsed
            states_text = ", ".join(f"{line.rate:.0f} {state}" for line, state in zip(lines, states, strict=True))
            print(f"  {elapsed:5.1f} s  {done:4.0%}  {states_text}", flush=True)


async def _cut_and_revive(
    wire: PtyWire, number: int, ends: list[tuple[Master, SerialSlave]], screen: _Screen, rate: float, seconds: float
) -> None:
    wire.lines[number].cut("hangup")
    screen.note(f"  -- the line of {rate:.0f} bit/s is hung up --")
    await asyncio.sleep(seconds)
    wire.lines[number].revive()
    for master, slave in ends:
        await master.reopen(slave)
    screen.note(f"  -- the line of {rate:.0f} bit/s is enslaved again --")


def _time_to_open(rates: list[float]) -> float:
    """Seconds that lines have to come up. PPP takes 1.8 s at 1200 bit/s, 7 s at 300, and 19 s at 110."""
    return _OPEN_TIME + _OPEN_BITS / min(rates)


async def _wait_for_all(ends: list[tuple[Master, list[SerialSlave]]], rates: list[float]) -> None:
    """Until every line carries packets at both ends.

    Raises:
        EqlbondError: some do not in time; it names them.
    """
    limit = _time_to_open(rates)
    pairs = list(zip(*(slaves for _, slaves in ends), strict=True))
    try:
        async with asyncio.timeout(limit):
            for master, _ in ends:
                await master.wait_open()
            while not all(slave.up for pair in pairs for slave in pair):
                await asyncio.sleep(0.01)
    except TimeoutError:
        down = (number for number, pair in enumerate(pairs) if not all(slave.up for slave in pair))
        names = ", ".join(f"line {number + 1} ({rates[number]:.0f} bit/s)" for number in down)
        raise EqlbondError(f"not up within {limit:.0f} s: {names or 'the network protocols'}") from None


def _sent(slaves: list[SerialSlave], before: list[int]) -> list[int]:
    return [slave.member.counters.bytes_sent - count for slave, count in zip(slaves, before, strict=True)]


def _end_at_signals(signals: list[int]) -> None:
    """Let signals cancel the current task, so that the ptys' directory goes, as with Ctrl-C; the first is noted."""
    loop = asyncio.get_running_loop()
    me = asyncio.current_task()

    def end(number: int) -> None:
        if me is not None and not signals:  # a terminal that is closed may send two
            signals.append(number)
            me.cancel()

    for number in ending_signals():
        if number != signal.SIGINT:
            loop.add_signal_handler(number, end, number)


async def _demo(args: argparse.Namespace, data: bytes, signals: list[int]) -> dict[str, Any]:
    _end_at_signals(signals)
    loop = asyncio.get_running_loop()
    screen = _Screen(args.quiet)
    rates: list[float] = args.rates
    async with PtyWire([LineSpec(rate) for rate in rates]) as wire:
        receiver: list[FileReceiver] = []
        sender: list[FileSender] = []

        framing = Ppp() if args.multilink else Slip()
        multilink = Multilink(mrru=max(1500, args.mtu)) if args.multilink else None

        def slaves(end: str) -> list[SerialSlave]:
            return [
                SerialSlave(getattr(line, end), 115200, rate=rate, framing=framing, name=f"{rate:.0f}{end}")
                for line, rate in zip(wire.lines, rates, strict=True)
            ]

        near, far = slaves("a"), slaves("b")
        async with (
            Master(
                near,
                scheduler=options.SCHEDULERS[args.scheduler](),
                mtu=args.mtu,
                multilink=multilink,
                on_packets=lambda packets: sender[0].take(packets),
            ) as a,
            Master(
                far,
                scheduler=options.SCHEDULERS[args.scheduler](),
                mtu=args.mtu,
                multilink=multilink,
                on_packets=lambda packets: receiver[0].take(packets),
            ) as b,
        ):
            sender.append(FileSender(a, data, ordered=args.multilink))
            receiver.append(FileReceiver(b.send_nowait, args.mtu))
            await _wait_for_all([(a, near), (b, far)], rates)
            before = [slave.member.counters.bytes_sent for slave in near]  # by PPP's negotiation
            total = len(sender[0].pieces)
            start = loop.time()
            lines = [_Line(rate, start) for rate in rates]
            transfer = asyncio.ensure_future(sender[0].run())
            cutting: asyncio.Future[None] | None = None
            try:
                while not transfer.done():
                    await asyncio.wait([transfer], timeout=0.25)
                    now = loop.time()
                    for line, slave in zip(lines, near, strict=True):
                        line.mark(slave.up, now)
                    done = receiver[0].received / total
                    states = ["up" if slave.up else "DOWN" for slave in near]
                    screen.draw(lines, states, done, now - start, _sent(near, before))
                    if cutting is None and done >= 0.45 and len(rates) > 1 and not args.no_cut:
                        ends = [(a, near[1]), (b, far[1])]
                        away = min(_DOWN_FOR, _DOWN_SHARE * 10 * len(data) / sum(rates))
                        cutting = asyncio.ensure_future(_cut_and_revive(wire, 1, ends, screen, rates[1], away))
            finally:  # also when Ctrl-C ends it
                seconds = loop.time() - start
                tasks = [transfer] if cutting is None else [transfer, cutting]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            transfer.result()
            if cutting is not None and cutting.cancelled():
                screen.note("  -- the file was there before that line was enslaved again --")
            elif cutting is not None:
                cutting.result()
            for line in lines:
                line.mark(False, start + seconds)
            reclaimed = sum(line.reclaimed for line in a.stats().lines)
            sent = _sent(near, before)
            fragments = sum(line.fragments_sent for line in a.stats().lines)
            return {
                "bytes": len(data),
                "mtu": args.mtu,
                "scheduler": args.scheduler,
                "multilink": args.multilink,
                "fragments": fragments if args.multilink else None,
                "rates": rates,
                "seconds": seconds,
                "theory_seconds": sum(sent) * 10 / sum(rates),
                "efficiency": sum(sent) * 10 / sum(line.rate * line.up_time for line in lines),
                "payload_percent": 100 * len(data) * 10 / (sum(rates) * seconds),
                "line_bytes": sent,
                "up_seconds": [line.up_time for line in lines],
                "pieces": total,
                "reordered": receiver[0].reordered,
                "asked_again": sender[0].asked_again,
                "duplicates": receiver[0].duplicates,
                "damaged": receiver[0].damaged,
                "taken_back": reclaimed,
                "checksum_equal": receiver[0].data == data,
            }


def _print_table(figures: dict[str, Any]) -> None:
    total = sum(figures["line_bytes"])
    carried = sum(rate * up for rate, up in zip(figures["rates"], figures["up_seconds"], strict=True))
    print()
    how = ", PPP Multilink" if figures["multilink"] else ""
    print(f"  {figures['bytes']} bytes in packets of {figures['mtu']}{how}, scheduler {figures['scheduler']}")
    print()
    print("      line bit/s    up s      bytes   share   its part of the sum")
    for rate, up, count in zip(figures["rates"], figures["up_seconds"], figures["line_bytes"], strict=True):
        print(f"  {rate:>14.0f} {up:>7.1f} {count:>10} {count / total:>7.1%} {rate * up / carried:>21.1%}")
    print()
    print(f"  theory, all lines all the time    {figures['theory_seconds']:8.1f} s")
    print(f"  achieved                          {figures['seconds']:8.1f} s")
    print(f"  of what the lines could carry     {figures['efficiency']:8.1%}")
    print(f"  file bytes only, as in 1995       {figures['payload_percent']:8.1f} %")
    if figures["multilink"]:
        print(f"  fragments                         {figures['fragments']:8d}")
        print(f"  out of order                      {figures['reordered']:8d} of {figures['pieces']} pieces")
    else:
        print(f"  reordered                         {figures['reordered']:8d} of {figures['pieces']} pieces")
    print(f"  taken back from the cut line      {figures['taken_back']:8d}")
    print(f"  lost and asked again              {figures['asked_again']:8d}")
    print(f"  came twice                        {figures['duplicates']:8d}")
    print(f"  checksum                          {'equal' if figures['checksum_equal'] else 'WRONG':>8}")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    logging.getLogger("eqlbond").setLevel(logging.ERROR)
    if not LEAST_MTU <= args.mtu <= 9000:
        raise ConfigurationError("mtu", f"from {LEAST_MTU} to 9000 bytes, not {args.mtu}")
    if args.file is None:
        data = random.Random(1995).randbytes(_FILE_OF_1995)
    else:
        try:
            data = args.file.read_bytes()
        except OSError as error:
            print(f"eqlbond: {args.file}: {error.strerror}", file=sys.stderr)
            return 1
    if not args.quiet:
        text = " + ".join(f"{rate:.0f}" for rate in args.rates)
        about = len(data) * 10 / sum(args.rates)
        print(f"  {len(data)} bytes over {text} bit/s: at least {about:.0f} s. Two bonds, {len(args.rates)} pty lines.")
    if args.json is not None:
        try:
            args.json.write_text("")  # now, and not after the whole transfer
        except OSError as error:
            print(f"eqlbond: {args.json}: {error.strerror}", file=sys.stderr)
            return 1
    started = time.monotonic()
    signals: list[int] = []
    try:
        figures = asyncio.run(_demo(args, data, signals))
    except asyncio.CancelledError:
        return 128 + signals[0]
    figures["wall_seconds"] = time.monotonic() - started
    _print_table(figures)
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if figures["checksum_equal"] else 1
