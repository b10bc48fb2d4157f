"""Where the control socket is, and who may have it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
import struct
from collections.abc import Mapping

from eqlbond.control.errors import ControlError, SocketInUse
from eqlbond.exceptions import ConfigurationError

_log = logging.getLogger("eqlbond.control")
_CREDENTIALS = struct.Struct("3i")
_LONGEST = 107  # sun_path, less the zero byte
_PROBE = 1.0


def default_socket(environment: Mapping[str, str] | None = None) -> str:
    """``$EQLBOND_SOCKET``; else ``/run/eqlbond.sock`` for root and ``$XDG_RUNTIME_DIR/eqlbond.sock`` for others.

    Raises:
        ConfigurationError: none of these is there; name the socket.
    """
    values = os.environ if environment is None else environment
    if values.get("EQLBOND_SOCKET"):
        return values["EQLBOND_SOCKET"]
    if os.geteuid() == 0:
        return "/run/eqlbond.sock"
    if values.get("XDG_RUNTIME_DIR"):
        return os.path.join(values["XDG_RUNTIME_DIR"], "eqlbond.sock")
    raise ConfigurationError("socket", "name it: there is neither EQLBOND_SOCKET nor XDG_RUNTIME_DIR")


def peer_uid(sock: socket.socket) -> int:
    """The user at the other end of a connected UNIX socket."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(data)[1]
    return uid


class Place:
    """A socket's path, held by one instance at a time.

    A lock beside it (``PATH.lock``, flock) says who holds it, so that of two instances that start at the same
    moment one wins. A socket that was left behind is taken over.

    Raises:
        ConfigurationError: the path is too long.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        if not self.path or len(os.fsencode(self.path)) > _LONGEST:
            raise ConfigurationError("socket", f"a path of 1 to {_LONGEST} bytes, not {self.path!r}")
        self._lock: int | None = None
        self._inode: tuple[int, int] | None = None

    def listen(self) -> socket.socket:
        """A listening socket with mode 0600.

        Raises:
            SocketInUse: a live instance has it.
            ControlError: it cannot be made.
        """
        try:
            self._lock = self._acquire()
            try:
                self._clear()
                return self._bind()
            except BaseException:
                self.release()
                raise
        except OSError as error:
            raise ControlError(f"control socket {self.path}: {error.strerror or error}") from error

    def _acquire(self) -> int:
        name = self.path + ".lock"
        while True:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever held it before may have removed the name meanwhile: then this is a lock of nothing.
                held, there = os.fstat(descriptor), os.stat(name)
                if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino):
                    return descriptor
            except FileNotFoundError:
                pass
            except BlockingIOError:
                os.close(descriptor)
                raise self._in_use() from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _in_use(self) -> SocketInUse:
        return SocketInUse(f"control socket {self.path}: another eqlbond runs there; name another socket, or stop it")

    def _clear(self) -> None:
        """Remove a socket that nobody listens at any more."""
        try:
            mode = os.lstat(self.path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ControlError(f"control socket {self.path}: there is something else than a socket; it is left alone")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE)
            try:
                probe.connect(self.path)
            except (ConnectionRefusedError, FileNotFoundError):
                _log.info("%s: a socket that was left behind is taken over", self.path)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path)
                return
            except TimeoutError:
                pass  # somebody listens, and is busy
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
        raise self._in_use()

    def _bind(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            mask = os.umask(0o177)
            try:
                sock.bind(self.path)
            finally:
                os.umask(mask)
            found = os.lstat(self.path)
            self._inode = found.st_dev, found.st_ino
            sock.listen(16)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise
        return sock

    def release(self) -> None:
        """Remove socket and lock. May be called again."""
        with contextlib.suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self._inode:
                os.unlink(self.path)
        self._inode = None
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path + ".lock")
            os.close(self._lock)
            self._lock = None
