"""One TCP connection that sends for some seconds, and how fast it went. Each end runs in a process of its own.

``python -m tests.interop.tcp receive ADDRESS PORT`` prints seconds and bytes, once a second.
``python -m tests.interop.tcp send ADDRESS PORT SECONDS CONGESTION`` sends; CONGESTION may be ``default``.
"""

from __future__ import annotations

import random
import socket
import sys
import time


def receive(address: str, port: int) -> None:
    with socket.create_server((address, port), family=socket.AF_INET) as server:
        print("listening", flush=True)
        connection, _ = server.accept()
        began = told = time.monotonic()
        count = 0
        with connection:
            while data := connection.recv(65536):
                count += len(data)
                if time.monotonic() - told >= 1.0:
                    told = time.monotonic()
                    print(f"{told - began:.3f} {count}", flush=True)


def send(address: str, port: int, seconds: float, congestion: str) -> None:
    payload = random.Random(1).randbytes(1 << 16)
    with socket.socket() as sock:
        if congestion != "default":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
        sock.connect((address, port))
        end = time.monotonic() + seconds
        sock.settimeout(1.0)
        while time.monotonic() < end:
            try:
                sock.send(payload)
            except TimeoutError:
                continue


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(sys.argv[2], int(sys.argv[3]))
    else:
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
