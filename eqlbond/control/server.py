"""The server's side of the control socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import time
from types import TracebackType
from typing import Any, Self

from eqlbond.aio.master import Master
from eqlbond.control import messages
from eqlbond.control.commands import Commands
from eqlbond.control.errors import RequestRefused
from eqlbond.control.place import Place, default_socket, peer_uid
from eqlbond.exceptions import EqlbondError

_log = logging.getLogger("eqlbond.control")
_LAST_WORDS = 1.0
_LAST_READS = 64


class ControlServer:
    """Serves a bond at a UNIX socket, mode 0600, to its owner and to root.

    ::

        async with Master(slaves) as master, ControlServer(master, "/run/user/1000/eqlbond.sock"):
            ...

    Nothing that a client does stops the bond or another client: requests have a size limit, silent clients a time
    limit, and one that does not read its answers is dropped.

    Args:
        master: the bond.
        path: the socket; None: `default_socket`.
        commands: what can be asked for; None: `Commands` of the master.
        max_clients: connections at a time, default 32; further ones are told so and closed.
        max_request: the longest request, bytes, default 64 KiB.
        idle_timeout: seconds within which a client has to say something, default 300; not while it reads events.
        write_timeout: seconds for which a client may leave its answers unread, default 10.

    Raises:
        ConfigurationError: the path is too long, or there is no default.
    """

    def __init__(
        self,
        master: Master,
        path: str | os.PathLike[str] | None = None,
        *,
        commands: Commands | None = None,
        max_clients: int = 32,
        max_request: int = 65536,
        idle_timeout: float = 300.0,
        write_timeout: float = 10.0,
    ) -> None:
        self._place = Place(default_socket() if path is None else path)
        self._commands = Commands(master) if commands is None else commands
        self._master = master
        self._max_clients = max_clients
        self._max_request = max_request
        self._idle_timeout = idle_timeout
        self._write_timeout = write_timeout
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def path(self) -> str:
        """The socket's path."""
        return self._place.path

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            SocketInUse: a live instance has the socket.
            ControlError: the socket cannot be made.
        """
        sock = self._place.listen()
        try:
            self._server = await asyncio.start_unix_server(self._connected, sock=sock, limit=self._max_request)
        except BaseException:
            sock.close()
            self._place.release()
            raise

    async def close(self) -> None:
        """Stop listening, and close all connections."""
        if self._server is not None:
            self._server.close()
            clients = list(self._clients)
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None
        self._place.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            problem = self._unwelcome(writer)
            if problem is not None:
                await self._part(reader, writer, *problem)
            else:
                await self._converse(reader, writer)
        except (OSError, TimeoutError) as error:
            _log.debug("a client of the control socket is gone: %r", error)
        except Exception:
            _log.exception("the control socket met an error that it does not know")
        finally:
            await self._close(writer)

    def _unwelcome(self, writer: asyncio.StreamWriter) -> tuple[str, str] | None:
        uid = peer_uid(writer.get_extra_info("socket"))
        if uid not in (os.geteuid(), 0):
            _log.warning("%s: user %d is not the owner and was turned away", self.path, uid)
            return "NotPermitted", "only the bond's owner and root may ask"
        if len(self._clients) > self._max_clients:
            return "TooManyClients", f"{self._max_clients} clients are connected already"
        return None

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(self._idle_timeout):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                line = error.partial  # the last line may lack its end
                if not line.strip():
                    return
            except asyncio.LimitOverrunError:
                problem = f"a request has at most {self._max_request} bytes"
                await self._part(reader, writer, "TooLong", problem)
                return
            except TimeoutError:
                problem = f"nothing was asked for {self._idle_timeout:g} s"
                await self._part(reader, writer, "Idle", problem)
                return
            if line.strip() and not await self._obey(line, reader, writer):
                return

    async def _obey(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Carry out one request; whether the conversation goes on."""
        try:
            request = messages.parse(line)
        except RequestRefused as error:
            identifier = getattr(error, "identifier", None)
            await self._write(writer, messages.refusal(identifier, error.kind, str(error)))
            return True
        if request.do == "events":
            await self._tell(request, reader, writer)
            return False
        await self._write(writer, await self._answer(request))
        return True

    async def _answer(self, request: messages.Request) -> bytes:
        try:
            return messages.answer(request.id, await self._commands.run(request.do, request.arguments))
        except RequestRefused as error:
            return messages.refusal(request.id, error.kind, str(error))
        except EqlbondError as error:
            notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", []))
            return messages.refusal(request.id, type(error).__name__, f"{error}{notes}")
        except Exception as error:
            _log.exception("the request %r failed", request.do)
            return messages.refusal(request.id, "InternalError", f"{type(error).__name__}: see the log")

    async def _tell(
        self, request: messages.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send events until the client goes or the bond closes."""
        if request.arguments:
            problem = f"events has no arguments, such as {next(iter(request.arguments))!r}"
            await self._write(writer, messages.refusal(request.id, "ConfigurationError", problem))
            return
        stream = self._master.events()
        gone = asyncio.ensure_future(_until_gone(reader, writer))
        coming: asyncio.Future[Any] | None = None
        clock = asyncio.get_running_loop().time
        missed = 0
        try:
            await self._write(writer, messages.answer(request.id, {"events": True}))
            while True:
                coming = asyncio.ensure_future(anext(stream, None))
                await asyncio.wait({coming, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    return
                event = coming.result()
                if event is None:
                    await self._write(writer, messages.end_line(request.id))
                    return
                when = time.time() - (clock() - event.time)
                line = messages.event_line(request.id, event, when, stream.missed - missed)
                missed = stream.missed
                await self._write(writer, line)
        finally:
            for task in (gone, coming):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(task for task in (gone, coming) if task is not None), return_exceptions=True)
            stream.close()

    async def _write(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        writer.write(line)
        async with asyncio.timeout(self._write_timeout):
            await writer.drain()

    async def _part(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str, problem: str) -> None:
        """Say why this is the end. What the client still sends is dropped meanwhile: closing on it would be a reset,
        and the client might not see the reason."""
        await self._write(writer, messages.refusal(None, kind, problem))
        writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                for _ in range(_LAST_READS):
                    if not await reader.read(65536):
                        return

    @staticmethod
    async def _close(writer: asyncio.StreamWriter) -> None:
        """Close; what a client does not take within a second is not sent."""
        with contextlib.suppress(OSError, TimeoutError):
            writer.close()
            async with asyncio.timeout(_LAST_WORDS):
                await writer.wait_closed()
        writer.transport.abort()


async def _until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait until the client is gone. One that only sends no more, as a shell's pipe does, still reads."""
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass
        poll = select.poll()
        poll.register(writer.get_extra_info("socket").fileno(), 0)
        while not poll.poll(0):
            await asyncio.sleep(0.5)
