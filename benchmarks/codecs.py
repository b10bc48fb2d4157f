"""Speed of the codecs, against sliplib, against a loop over the bytes in Python, and against one in C.

eqlbond, sliplib and the C loop work on the same payloads, at least 64 different ones: a single one, repeated, flatters
the processor's branch prediction. The loop in Python, which is slow and hardly depends on that, works on the first of
them, 24000 bytes at most: 600 payloads of 40 bytes, 2 of 9000. All times are reckoned for a byte. eqlbond's decoders
and sliplib's get the stream in reads of 4096 bytes, as a serial port delivers it, the loops in one piece. Before
anything is timed, all must agree on the bytes. Rounds of all contenders alternate; the CPU time of each one's best
round counts.

`ns_per_byte` is by bytes of payload; `ratio_to` says how many times faster eqlbond is, null where there is nothing to
compare with. The C loop is compiled here, where there is a compiler, and works on all payloads in one call.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from time import process_time
from typing import Any, Final

import attrs

from benchmarks._harness import Column, Table, finish, parse_options
from eqlbond.codec.hdlc import HdlcFramer, HdlcOptions
from eqlbond.codec.kiss import KissFramer
from eqlbond.codec.limits import receive_limit
from eqlbond.codec.slip import SlipDecoder, slip_encode
from eqlbond.packet import IPV4, Packet

try:
    import sliplib
except ImportError:  # it is a comparison, no more
    sliplib = None

SIZES: Final = (40, 576, 1500, 9000)
CONTENTS: Final = ("random", "text", "escape")
CODECS: Final = ("slip", "kiss", "ppp", "ppp-accm")
STUFFED: Final = ("slip", "kiss")
READ: Final = 4096
STREAM: Final = 65536  # bytes of payload in a round, at the least
LOOP_BYTES: Final = 24000  # the loops in Python take so much of the payloads, and are reckoned up

C_SOURCE: Final = r"""
#include <stddef.h>
#include <stdint.h>

/* SLIP and, with a type of 0 or more, KISS. */
size_t stuff(const uint8_t *in, size_t size, size_t count, int type, uint8_t *out)
{
    uint8_t *at = out;
    for (size_t k = 0; k < count; k++, in += size) {
        *at++ = 0xC0;
        if (type >= 0)
            *at++ = (uint8_t)type;
        for (size_t i = 0; i < size; i++) {
            uint8_t byte = in[i];
            if (byte == 0xC0) {
                *at++ = 0xDB;
                *at++ = 0xDC;
            } else if (byte == 0xDB) {
                *at++ = 0xDB;
                *at++ = 0xDD;
            } else {
                *at++ = byte;
            }
        }
        *at++ = 0xC0;
    }
    return (size_t)(at - out);
}

/* Returns how many bytes of payload there are. */
size_t unstuff(const uint8_t *in, size_t size, int type, uint8_t *out)
{
    uint8_t *at = out, *start = out;
    int escaped = 0, bad = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = in[i];
        if (byte == 0xC0) {
            if (bad || escaped) {
                at = start;
            } else if (type >= 0 && at > start) {
                for (uint8_t *p = start + 1; p < at; p++)
                    p[-1] = *p;
                at--;
            }
            start = at;
            escaped = bad = 0;
        } else if (escaped) {
            escaped = 0;
            if (byte == 0xDC)
                *at++ = 0xC0;
            else if (byte == 0xDD)
                *at++ = 0xDB;
            else
                bad = 1;
        } else if (byte == 0xDB) {
            escaped = 1;
        } else {
            *at++ = byte;
        }
    }
    return (size_t)(start - out);
}

static uint16_t table[256];

void prepare(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint16_t value = (uint16_t)i;
        for (int bit = 0; bit < 8; bit++)
            value = (uint16_t)(value & 1 ? value >> 1 ^ 0x8408 : value >> 1);
        table[i] = value;
    }
}

static inline uint8_t *put(uint8_t *at, uint8_t byte, uint32_t accm)
{
    if (byte == 0x7D || byte == 0x7E || (byte < 32 && accm >> byte & 1)) {
        *at++ = 0x7D;
        byte ^= 0x20;
    }
    *at++ = byte;
    return at;
}

size_t ppp_encode(const uint8_t *in, size_t size, size_t count, uint32_t accm, uint8_t *out)
{
    static const uint8_t header[4] = {0xFF, 0x03, 0x00, 0x21};
    uint8_t *at = out;
    for (size_t k = 0; k < count; k++, in += size) {
        uint16_t fcs = 0xFFFF;
        *at++ = 0x7E;
        for (size_t i = 0; i < 4; i++) {
            fcs = (uint16_t)(fcs >> 8 ^ table[(fcs ^ header[i]) & 255]);
            at = put(at, header[i], accm);
        }
        for (size_t i = 0; i < size; i++) {
            fcs = (uint16_t)(fcs >> 8 ^ table[(fcs ^ in[i]) & 255]);
            at = put(at, in[i], accm);
        }
        fcs ^= 0xFFFF;
        at = put(at, (uint8_t)fcs, accm);
        at = put(at, (uint8_t)(fcs >> 8), accm);
        *at++ = 0x7E;
    }
    return (size_t)(at - out);
}

size_t ppp_decode(const uint8_t *in, size_t size, uint32_t accm, uint8_t *out)
{
    uint8_t *start = out, *at = out;
    uint8_t frame[65536];
    size_t length = 0;
    uint16_t fcs = 0xFFFF;
    uint8_t flip = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = in[i];
        if (byte == 0x7E) {
            if (length > 6 && fcs == 0xF0B8 && !flip && frame[0] == 0xFF && frame[1] == 0x03)
                for (size_t k = 4; k < length - 2; k++)
                    *at++ = frame[k];
            length = 0;
            fcs = 0xFFFF;
            flip = 0;
        } else if (byte < 32 && accm >> byte & 1) {
            continue;
        } else if (byte == 0x7D) {
            flip = 0x20;
        } else if (length < sizeof frame) {
            byte ^= flip;
            flip = 0;
            fcs = (uint16_t)(fcs >> 8 ^ table[(fcs ^ byte) & 255]);
            frame[length++] = byte;
        }
    }
    return (size_t)(at - start);
}
"""


def payloads_of(codec: str, content: str, size: int) -> list[bytes]:
    """Different payloads, always the same ones for the same arguments."""
    chance = random.Random(f"{codec} {content} {size}")
    count = max(64, STREAM // size)
    if content == "random":
        return [chance.randbytes(size) for _ in range(count)]
    if content == "text":
        words = [
            bytes(chance.choices(b"etaoinshrdlucmfwypvbgkETAOIN0123,.-", k=chance.randint(1, 9))) for _ in range(400)
        ]
        text = b" ".join(chance.choices(words, k=size * count // 2))
        return [text[at : at + size] for at in range(0, size * count, size)]
    escaped = {"slip": b"\xc0\xdb", "kiss": b"\xc0\xdb", "ppp": b"\x7d\x7e", "ppp-accm": b"\x7d\x7e" + bytes(range(32))}
    return [bytes(chance.choices(escaped[codec], k=size)) for _ in range(count)]


# The loops in Python: what one writes without a second thought, with its tables made beforehand.


def loop_stuff(payload: bytes, kind: bytes = b"") -> bytes:
    out = bytearray(b"\xc0" + kind)
    for byte in payload:
        if byte == 0xC0:
            out += b"\xdb\xdc"
        elif byte == 0xDB:
            out += b"\xdb\xdd"
        else:
            out.append(byte)
    out.append(0xC0)
    return bytes(out)


def loop_unstuff(stream: bytes, skip: int = 0) -> list[bytes]:
    frames = []
    frame = bytearray()
    escaped = False
    for byte in stream:
        if byte == 0xC0:
            if frame:
                frames.append(bytes(frame[skip:]))
                frame.clear()
        elif escaped:
            frame.append(0xC0 if byte == 0xDC else 0xDB)
            escaped = False
        elif byte == 0xDB:
            escaped = True
        else:
            frame.append(byte)
    return frames


def _fcs_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x8408 if value & 1 else value >> 1
        table.append(value)
    return table


FCS_TABLE: Final = _fcs_table()


def loop_ppp_encode(payload: bytes, escaped: frozenset[int]) -> bytes:
    table = FCS_TABLE
    fcs = 0xFFFF
    out = bytearray(b"\x7e")
    for byte in b"\xff\x03\x00\x21" + payload:
        fcs = fcs >> 8 ^ table[(fcs ^ byte) & 0xFF]
        if byte in escaped:
            out.append(0x7D)
            out.append(byte ^ 0x20)
        else:
            out.append(byte)
    for byte in (fcs ^ 0xFFFF).to_bytes(2, "little"):
        if byte in escaped:
            out.append(0x7D)
            out.append(byte ^ 0x20)
        else:
            out.append(byte)
    out.append(0x7E)
    return bytes(out)


def loop_ppp_decode(stream: bytes, removed: frozenset[int]) -> list[bytes]:
    table = FCS_TABLE
    frames = []
    frame = bytearray()
    escaped = False
    fcs = 0xFFFF
    for byte in stream:
        if byte == 0x7E:
            if len(frame) > 6 and fcs == 0xF0B8:
                frames.append(bytes(frame[4:-2]))
            frame.clear()
            fcs = 0xFFFF
        elif byte == 0x7D:
            escaped = True
        elif byte not in removed:
            if escaped:
                byte ^= 0x20
                escaped = False
            fcs = fcs >> 8 ^ table[(fcs ^ byte) & 0xFF]
            frame.append(byte)
    return frames


class CLoop:
    """The C loop, compiled into a temporary directory."""

    def __init__(self, folder: Path, compiler: str) -> None:
        source, library = folder / "loop.c", folder / "loop.so"
        source.write_text(C_SOURCE, encoding="ascii")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        self.functions = ctypes.CDLL(str(library))
        for name in ("stuff", "unstuff", "ppp_encode", "ppp_decode"):
            getattr(self.functions, name).restype = ctypes.c_size_t
        self.functions.prepare()

    def contender(
        self, codec: str, encode: bool, payloads: Sequence[bytes], stream: bytes
    ) -> Callable[[], Iterable[bytes]]:
        """A call that encodes all payloads, or decodes the stream."""
        whole = b"".join(payloads)
        source = whole if encode else stream
        out = ctypes.create_string_buffer(2 * len(whole) + 16 * len(payloads))
        accm = ctypes.c_uint32(0xFFFFFFFF if codec == "ppp-accm" else 0)
        kind = ctypes.c_int(0 if codec == "kiss" else -1)
        length = ctypes.c_size_t(len(source))
        size, count = ctypes.c_size_t(len(payloads[0])), ctypes.c_size_t(len(payloads))
        stuffed = codec in STUFFED
        functions = self.functions
        arguments: tuple[Any, ...]
        if encode:
            call = functions.stuff if stuffed else functions.ppp_encode
            arguments = (source, size, count, kind if stuffed else accm, out)
        else:
            call = functions.unstuff if stuffed else functions.ppp_decode
            arguments = (source, length, kind if stuffed else accm, out)

        def run() -> Iterable[bytes]:
            return [ctypes.string_at(out, call(*arguments))]

        return run


def find_compiler() -> str | None:
    """The C compiler, where there is one."""
    return next(filter(None, map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))), None)


@attrs.define
class Contender:
    """Something that does the work: `run` makes, piece by piece, what `expected` says of `amount` bytes of payload."""

    run: Callable[[], Iterable[bytes]]
    amount: int
    expected: bytes
    best: float = float("inf")


def contenders_for(codec: str, encode: bool, size: int, content: str, c: CLoop | None) -> dict[str, Contender]:
    """All who can do it, eqlbond first."""
    payloads = payloads_of(codec, content, size)
    accm = 0xFFFFFFFF if codec == "ppp-accm" else 0
    options = HdlcOptions(accm=accm)
    limit = receive_limit(None, size)
    framer: KissFramer | HdlcFramer = KissFramer(limit) if codec == "kiss" else HdlcFramer(limit, options)
    packets = [Packet(payload, IPV4) for payload in payloads]
    frames = [slip_encode(payload) for payload in payloads] if codec == "slip" else [*map(framer.encode, packets)]
    stream = b"".join(frames)
    reads = [stream[at : at + READ] for at in range(0, len(stream), READ)]
    few = max(1, LOOP_BYTES // size)
    controls = frozenset(range(32)) if accm else frozenset()
    escaped = frozenset((0x7D, 0x7E)) | controls
    found: dict[str, Contender] = {}

    def add(name: str, run: Callable[[], Iterable[bytes]], part: int = len(payloads)) -> None:
        source = payloads[:part]
        found[name] = Contender(run, sum(map(len, source)), b"".join(frames[:part] if encode else source))

    if encode:
        if codec == "slip":
            add("eqlbond", lambda: map(slip_encode, payloads))
        else:
            add("eqlbond", lambda: map(framer.encode, packets))
        if codec in STUFFED:
            kind = b"\0" if codec == "kiss" else b""
            add("loop", lambda: (loop_stuff(payload, kind) for payload in payloads[:few]), few)
        else:
            add("loop", lambda: (loop_ppp_encode(payload, escaped) for payload in payloads[:few]), few)
        if codec == "slip" and sliplib is not None:
            with sliplib.use_leading_end_byte(True):
                send = sliplib.Driver().send
            add("sliplib", lambda: map(send, payloads))
    else:
        part = b"".join(frames[:few])
        if codec == "slip":
            add("eqlbond", lambda: decode_slip(reads, limit))
        elif codec == "kiss":
            add("eqlbond", lambda: decode_packets(KissFramer(limit), reads))
        else:
            add("eqlbond", lambda: decode_packets(HdlcFramer(limit, receive=options), reads))
        if codec in STUFFED:
            add("loop", lambda: loop_unstuff(part, codec == "kiss"), few)
        else:
            add("loop", lambda: loop_ppp_decode(part, controls), few)
        if codec == "slip" and sliplib is not None:
            add("sliplib", lambda: decode_sliplib(reads))
    if c is not None:
        add("c", c.contender(codec, encode, payloads, stream))
    return found


def decode_slip(reads: Sequence[bytes], limit: int) -> Iterable[bytes]:
    """The payloads, as they come."""
    return chain.from_iterable(map(SlipDecoder(limit).feed, reads))


def decode_packets(framer: KissFramer | HdlcFramer, reads: Sequence[bytes]) -> Iterable[bytes]:
    """The payloads, as their packets come."""
    return map(attrgetter("payload"), chain.from_iterable(map(framer.feed, reads)))


def decode_sliplib(reads: Sequence[bytes]) -> Iterable[bytes]:
    """The payloads, as sliplib has them."""
    driver = sliplib.Driver()
    for read in reads:
        driver.receive(read)
        while (frame := driver.get(block=False)) is not None:
            yield frame


def measure(contenders: dict[str, Contender], rounds: int) -> None:
    """Let each work `rounds` times in turn, and keep the best time of each."""
    for name, contender in contenders.items():
        if b"".join(contender.run()) != contender.expected:
            raise RuntimeError(f"{name} gets other bytes than the rest")
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for contender in contenders.values():
                start = process_time()
                deque(contender.run(), maxlen=0)
                contender.best = min(contender.best, process_time() - start)
    finally:
        gc.enable()


def result_of(codec: str, direction: str, size: int, content: str, contenders: dict[str, Contender]) -> dict[str, Any]:
    """One entry of the JSON."""
    speed = {name: contender.best / contender.amount * 1e9 for name, contender in contenders.items()}
    ours = speed["eqlbond"]
    return {
        "codec": codec,
        "direction": direction,
        "size": size,
        "content": content,
        "ns_per_byte": round(ours, 4),
        "ratio_to": {
            name: round(speed[name] / ours, 3) if name in speed else None for name in ("sliplib", "loop", "c")
        },
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parse_options(__doc__, argv)
    rounds = 6 if options.quick else 40
    compiler = find_compiler()
    results = []
    table = Table(
        "Codecs: ns for each byte of payload, and how many times faster than others",
        [
            *(Column(name) for name in ("codec", "direction", "size", "content")),
            Column("ns/byte", ".2f"),
            *(Column(name, ".2f") for name in ("sliplib", "loop", "C")),
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        c = CLoop(Path(folder), compiler) if compiler else None
        for codec in CODECS:
            for direction in ("encode", "decode"):
                for size in SIZES:
                    for content in CONTENTS:
                        contenders = contenders_for(codec, direction == "encode", size, content, c)
                        measure(contenders, rounds)
                        result = result_of(codec, direction, size, content, contenders)
                        results.append(result)
                        ratios = result["ratio_to"]
                        table.add(
                            codec,
                            direction,
                            size,
                            content,
                            result["ns_per_byte"],
                            ratios["sliplib"],
                            ratios["loop"],
                            ratios["c"],
                        )
    table.note(f"decoders read {READ} bytes at a time; SLIP frames have an END on both sides, also those of sliplib")
    table.note(
        "kiss, ppp: through their framers, with Packet objects; ppp: ACCM 0, ppp-accm: ACCM ffffffff, both FCS-16"
    )
    table.note(f"loop: in Python, on the first payloads only, {LOOP_BYTES} bytes at most: 600 of 40 bytes, 2 of 9000")
    table.note(f"C: {compiler} -O2, all payloads in one call" if compiler else "no C compiler was found")
    table.print()
    finish(options, results, read=READ)


if __name__ == "__main__":
    main()
