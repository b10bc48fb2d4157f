"""slirp on a pty: a PPP and SLIP peer that is not ours, with a network of its own behind it.

slirp talks to its standard input, output and error, which have to be the tty. It prints a banner in plain text before
its first frame. Its world: 10.0.2.2 is this machine, services on 127.0.0.1 included; the client is 10.0.2.15, and
10.0.2.0 is slirp's own command line, at port 23.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import shutil
import tty
from collections.abc import Sequence

# Plain `slirp` of Debian 12 exits as soon as it is idle; this one, of the same package, does not.
PROGRAM = "slirp-fullbolt"
HERE = "10.0.2.15"
HOST = "10.0.2.2"
CONTROL = "10.0.2.0"
PROMPT = b"Slirp> "


class Slirp:
    """A running slirp; `path` is the port to talk to it by.

    ::

        async with Slirp("-P") as peer:
            SerialSlave(peer.path, ...)

    Args:
        options: slirp's.
        by: a command that becomes slirp, such as ``ip netns exec``.
        user: whose its tty is; by default that of the tests.
    """

    def __init__(self, *options: str, by: Sequence[str] = (), user: int = -1) -> None:
        program = shutil.which(PROGRAM)
        assert program, f"{PROGRAM} is not installed: apt-get install slirp"
        self._command = [*by, program, *options]
        self._user = user
        self._process: asyncio.subprocess.Process | None = None
        self._fds: list[int] = []
        self._joints: list[asyncio.Task[None]] = []
        self.path = ""
        self.seen = bytearray()
        """What slirp has sent, for a test that fails."""

    async def __aenter__(self) -> Slirp:
        # Two ptys, joined here: slirp has the slave side of one, the port under test is that of the other.
        theirs, their_tty = pty.openpty()
        ours, our_tty = pty.openpty()
        self._fds = [theirs, ours, our_tty]
        for fd in (their_tty, our_tty):
            tty.setraw(fd)
        os.fchown(their_tty, self._user, -1)
        self.path = os.ttyname(our_tty)
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=their_tty, stdout=their_tty, stderr=their_tty, start_new_session=True
        )
        os.close(their_tty)
        loop = asyncio.get_running_loop()
        os.set_blocking(theirs, False)
        os.set_blocking(ours, False)
        loop.add_reader(theirs, self._carry, theirs, ours)
        loop.add_reader(ours, self._carry, ours, theirs)
        return self

    @property
    def pid(self) -> int:
        """Of slirp."""
        assert self._process is not None
        return self._process.pid

    def _carry(self, source: int, target: int) -> None:
        try:
            data = os.read(source, 4096)
        except BlockingIOError:
            return
        except OSError:  # the other side of the pty is closed
            asyncio.get_running_loop().remove_reader(source)
            return
        if source == self._fds[0]:
            self.seen += data
        with contextlib.suppress(OSError):
            os.write(target, data)

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for fd in self._fds[:2]:
            loop.remove_reader(fd)
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        for fd in self._fds:
            os.close(fd)
