"""The client's side of the control socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

from eqlbond.control.errors import ControlUnavailable, RequestRefused
from eqlbond.control.place import default_socket
from eqlbond.control.version import VERSION

_LONGEST_ANSWER = 16 * 1024 * 1024


class ControlClient:
    """Asks a bond that runs in another process.

    ::

        async with ControlClient() as bond:
            await bond.enslave(device="/dev/ttyS1", baudrate=115200)
            print(await bond.status())

    One request goes at a time; several tasks may share a client. All methods raise `RequestRefused` where the bond
    does not do it, and `ControlUnavailable` where it does not answer.

    Args:
        path: the socket; None: `default_socket`.
        timeout: seconds to wait for an answer; None, the default: for ever (a call by modem takes its time).
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, timeout: float | None = None) -> None:
        self.path = default_socket() if path is None else os.fspath(path)
        self._timeout = timeout
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._numbers = itertools.count(1)
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect. Raises `ControlUnavailable`."""
        self._reader, self._writer = await self._connect()

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            await _close(self._writer)
            self._reader = self._writer = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_unix_connection(self.path, limit=_LONGEST_ANSWER)
        except PermissionError:
            raise ControlUnavailable(f"{self.path}: the bond belongs to another user") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise ControlUnavailable(f"{self.path}: no bond runs there (eqlbond run starts one)") from None
        except OSError as error:
            raise ControlUnavailable(f"{self.path}: {error.strerror or error}") from error

    async def request(self, do: str, **arguments: Any) -> Any:
        """Send a request and wait for its answer; the general form of the methods below.

        Raises:
            RequestRefused: the bond does not do it.
            ControlUnavailable: the connection broke, or no answer came in time.
        """
        async with self._turn:
            if self._reader is None or self._writer is None or await self._closed_by_server(self._reader):
                await self.close()
                await self.open()
            assert self._reader is not None
            assert self._writer is not None
            number = next(self._numbers)
            try:
                self._writer.write(_request(number, do, arguments))
                async with asyncio.timeout(self._timeout):
                    await self._writer.drain()
                    return await _result(self._reader, number)
            except BaseException as error:
                if isinstance(error, RequestRefused):
                    raise
                # An answer that is still to come would be taken for the next request's.
                await self.close()
                if isinstance(error, OSError | asyncio.IncompleteReadError | ValueError):
                    reason = "no answer in time" if isinstance(error, TimeoutError) else "the connection broke"
                    raise ControlUnavailable(f"{self.path}: {reason}") from error
                raise

    @staticmethod
    async def _closed_by_server(reader: asyncio.StreamReader) -> bool:
        """Whether the server has closed the connection since the last answer, as it does when nothing is asked."""
        try:
            async with asyncio.timeout(0):
                return bool(await reader.readuntil(b"\n"))
        except TimeoutError:
            return False
        except (OSError, asyncio.IncompleteReadError):
            return True

    async def ping(self) -> dict[str, Any]:
        """The version and the process id of the bond's process."""
        return dict(await self.request("ping"))

    async def status(self) -> dict[str, Any]:
        """Statistics of the bond and its lines."""
        return dict(await self.request("status"))

    async def show(self, slave: str | None = None) -> dict[str, Any]:
        """The configuration of the master, or of a slave."""
        return dict(await self.request("show", slave=slave))

    async def enslave(self, slave: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """Add a line, given as in a ``[[slave]]`` of the file; returns its configuration."""
        return dict(await self.request("enslave", slave={**(slave or {}), **options}))

    async def emancipate(self, slave: str, timeout: float = 2.0) -> None:
        """Take a line out; its last frame may take `timeout` seconds."""
        await self.request("emancipate", slave=slave, timeout=timeout)

    async def set(self, slave: str | None = None, **values: Any) -> dict[str, Any]:
        """Change `rate`, `priority` or `latency` of a slave; or, without one, `min_slaves` or `max_slaves`."""
        return dict(await self.request("set", slave=slave, **values))

    async def reload(self) -> dict[str, Any]:
        """Have the configuration file read again; returns what was changed."""
        return dict(await self.request("reload"))

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The bond's events from now on, over a connection of their own; ends when the bond closes.

        An event has its name as `event`, and `missed` where events before it were left out.
        """
        reader, writer = await self._connect()
        try:
            writer.write(_request(0, "events", {}))
            await _result(reader, 0)
            while True:
                line = await reader.readuntil(b"\n")
                message = json.loads(line)
                if message.get("end"):
                    return
                if "missed" in message:
                    message["event"]["missed"] = message["missed"]
                yield message["event"]
        except (OSError, asyncio.IncompleteReadError):
            raise ControlUnavailable(f"{self.path}: the bond has stopped") from None
        finally:
            await _close(writer)


def _request(number: int, do: str, arguments: Mapping[str, Any]) -> bytes:
    return json.dumps({"v": VERSION, "id": number, "do": do, **arguments}).encode() + b"\n"


async def _result(reader: asyncio.StreamReader, number: int) -> Any:
    while True:
        message = json.loads(await reader.readuntil(b"\n"))
        # A refusal without an id is about the connection as a whole.
        if message.get("id") not in (number, None):
            continue
        if message.get("ok"):
            return message.get("result")
        error = message.get("error") or {}
        raise RequestRefused(str(error.get("kind")), str(error.get("text")))


async def _close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()
