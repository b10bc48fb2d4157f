"""Traffic for `benchmarks.tun`, in a process and a network namespace of its own.

``python -m benchmarks._traffic NAMESPACE ROLE ADDRESS PORT SECONDS SIZE text|random``, the role being one of `ROLES`.
"""

from __future__ import annotations

import random
import socket
import sys
import time
from collections.abc import Sequence

from eqlbond.tun.device import in_namespace

_BLOCK = 1 << 16
_TEXT = bytes(32 + n % 95 for n in range(256))


_random = random.Random(1)


def some(content: str, size: int) -> bytes:
    """Bytes to send: random ones, as compressed and encrypted data are, or text."""
    data = _random.randbytes(size)
    return data if content == "random" else data.translate(_TEXT)


def tcp_receive(address: str, port: int, seconds: float, size: int, content: str) -> None:
    """Take one connection, and all that comes by it."""
    with socket.create_server((address, port)) as server:
        print("ready", flush=True)
        connection, _ = server.accept()
        with connection:
            buffer = bytearray(_BLOCK)
            while connection.recv_into(buffer):
                pass


def tcp_send(address: str, port: int, seconds: float, size: int, content: str) -> None:
    """Send as fast as TCP lets it. `size`: of the segments, 0: as the MTU has it."""
    blocks = [some(content, _BLOCK) for _ in range(16)]
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sender:
        if size:
            sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, size)
        sender.connect((address, port))
        until = time.monotonic() + seconds
        n = 0
        while time.monotonic() < until:
            sender.sendall(blocks[n % len(blocks)])
            n += 1


def udp_receive(address: str, port: int, seconds: float, size: int, content: str) -> None:
    """Read and forget."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((address, port))
        receiver.settimeout(1.0)
        print("ready", flush=True)
        until = time.monotonic() + seconds + 1
        while time.monotonic() < until:
            try:
                receiver.recv(65536)
            except TimeoutError:
                continue


def udp_send(address: str, port: int, seconds: float, size: int, content: str) -> None:
    """Send datagrams of `size` bytes, IP and UDP headers included, faster than anything here can take them."""
    payloads = [some(content, size - 28) for _ in range(256)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((address, port))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for payload in payloads:
                sender.send(payload)


ROLES = {"tcp-receive": tcp_receive, "tcp-send": tcp_send, "udp-receive": udp_receive, "udp-send": udp_send}


def main(argv: Sequence[str] | None = None) -> None:
    """Play one part."""
    namespace, role, address, port, seconds, size, content = sys.argv[1:] if argv is None else argv
    with in_namespace(namespace):
        ROLES[role](address, int(port), float(seconds), int(size), content)


if __name__ == "__main__":
    main()
