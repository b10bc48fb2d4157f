"""UUCP lock files: one program at a time on a serial port, among all that keep the custom.

A lock is a file ``LCK..name`` in the lock directory with the holder's process id in it: ten columns of ASCII and a
newline, as HoneyDanBer UUCP wrote it and pppd, mgetty, cu and minicom still do::

    with UucpLock("/dev/ttyUSB0"):
        ...

The file appears whole or not at all (it is written under another name and then linked). A lock whose process is dead,
that holds no process id, or that has been empty for `EMPTY_AGE` seconds is stale: it is taken over, and the log says
so. So is one with this process's own id that no `UucpLock` of it holds: a container that was killed and started again
gives its program the same id as before. Older programs wrote the id as a binary integer; that is understood, too.

A lock is released when its ``with`` block ends and when the interpreter exits. A process that is killed leaves
its file behind; the next one finds it stale.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import itertools
import logging
import os
import struct
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from eqlbond.exceptions import ConfigurationError, DeviceBusy, LineError

__all__ = ["LOCK_DIRECTORY", "Holder", "LockFailed", "LockHeld", "UucpLock", "lock_names", "read_lock"]

LOCK_DIRECTORY = "/var/lock"
"""Where lock files are, unless one says otherwise (Filesystem Hierarchy Standard 3.0, section 5.9)."""
EMPTY_AGE = 10.0
"""Seconds that an empty lock file is left alone: some programs create it first and write into it then."""

_ATTEMPTS = 100
_temporary = itertools.count()
_held: set[UucpLock] = set()
_letting_go = threading.RLock()
"""No lock of this process is let go while one of its threads judges whether a file is stale and removes it."""
_log = logging.getLogger("eqlbond.lock")


class LockHeld(DeviceBusy):
    """Another program holds the port's lock.

    Attributes:
        path: the lock file.
        pid: the holder's process id; None where the file does not tell it yet.
        program: the holder's name, where it can be found out.
    """

    def __init__(self, device: str, path: str, pid: int | None, program: str | None) -> None:
        if pid is None:
            who = "a program that has not written its process id yet"
        elif pid == os.getpid():
            who = f"this process ({pid})"
        else:
            who = f"{program or 'a program'} (process {pid})"
        super().__init__(device, f"locked by {who}, {path}")
        self.path = path
        self.pid = pid
        self.program = program


class LockFailed(LineError):
    """A lock file could not be written."""


@attrs.frozen
class Holder:
    """What a lock file says."""

    pid: int | None
    """The process id; None: the file holds none."""
    program: str | None
    """The program's name, by the system or by the file."""
    alive: bool
    """Whether there is such a process; of this process's own id, whether a `UucpLock` of it holds the file."""
    inode: int
    age: float
    """Seconds since the file was written."""
    empty: bool

    @property
    def stale(self) -> bool:
        """Whether the lock may be taken over."""
        return not self.alive and not (self.empty and self.age < EMPTY_AGE)


def lock_names(device: str) -> tuple[str, ...]:
    """The names of a device's lock files, the first one the most common.

    Programs disagree: pppd locks what follows ``dev/`` with ``_`` for ``/``, others lock the last part of the
    path; both take the name that they were given, symbolic link or not. So a port under ``/dev/serial/by-id`` is
    locked under the real device's name and under its own, and ``/dev/pts/3`` as ``LCK..pts_3`` and ``LCK..3``.

    >>> lock_names("/dev/no-such-tty")
    ('LCK..no-such-tty',)
    """
    given = os.path.abspath(device)
    names: dict[str, None] = {}
    for path in (os.path.realpath(given), given):
        if path.startswith("/dev/"):
            names[path.removeprefix("/dev/").replace("/", "_")] = None
        names[os.path.basename(path)] = None
    return tuple(f"LCK..{name}" for name in names)


def _parse(content: bytes) -> tuple[int | None, str | None]:
    words = content[:256].split()
    if words and words[0].isdigit() and len(words[0]) <= 10:
        return int(words[0]) or None, words[1].decode("ascii", "replace") if len(words) > 1 else None
    if len(content) == struct.calcsize("i"):
        (pid,) = struct.unpack("i", content)
        return (pid if pid > 0 else None), None
    return None, None


def _program(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is somebody else's
        pass
    return True


def _holds(file: os.stat_result) -> bool:
    """Whether a lock of this process holds the file, under whatever name of the directory."""
    return any(lock._holds(file) for lock in list(_held))  # the list is made at once: other threads change the set


def read_lock(path: str) -> Holder | None:
    """What a lock file says; None where there is none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(file)
        content = os.read(file, 256)
    finally:
        os.close(file)
    pid, program = _parse(content)
    alive = pid is not None and (_holds(status) if pid == os.getpid() else _alive(pid))
    if pid is not None and alive:
        program = _program(pid) or program
    return Holder(pid, program, alive, status.st_ino, time.time() - status.st_mtime, not content)


class UucpLock:
    """The lock of one serial port; a context manager.

    Args:
        device: path of the port.
        directory: where lock files are; default `LOCK_DIRECTORY`.

    Raises:
        ConfigurationError: the directory's name is empty.
    """

    def __init__(self, device: str, directory: str | os.PathLike[str] = LOCK_DIRECTORY) -> None:
        if not os.fspath(directory):
            raise ConfigurationError("lock", "the directory of the lock files, not an empty string")
        self.device = str(device)
        self.directory = os.fspath(directory)
        self._pid = 0
        self._files: list[tuple[str, int, int]] = []  # path, device, inode

    def __repr__(self) -> str:
        return f"<UucpLock {self.device} {'held' if self.held else 'not held'}>"

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return bool(self._files) and self._pid == os.getpid()

    @property
    def paths(self) -> tuple[str, ...]:
        """The lock files that are, or would be, held."""
        return tuple(os.path.join(self.directory, name) for name in lock_names(self.device))

    def acquire(self) -> Self:
        """Take the lock; does not wait.

        Raises:
            LockHeld: a live process holds it, this one included.
            LockFailed: the lock file cannot be written.
        """
        if self.held:
            raise LockHeld(self.device, self._files[0][0], self._pid, _program(self._pid))
        self._files = []
        self._pid = os.getpid()
        _held.add(self)
        try:
            for path in self.paths:
                self._create(path)
        except BaseException:
            self.release()
            raise
        return self

    def release(self) -> None:
        """Let go. Does nothing where the lock is not held, was taken by another program, or by a parent process."""
        if self._pid != os.getpid():
            self._files = []
            _held.discard(self)
            return
        with _letting_go:
            for path, _, inode in reversed(self._files):
                with contextlib.suppress(OSError):
                    holder = read_lock(path)
                    if holder is not None and (holder.inode, holder.pid) == (inode, self._pid):
                        os.unlink(path)
            # Not before the files are gone: until then another thread would take them for stale.
            self._files = []
            _held.discard(self)

    def _holds(self, file: os.stat_result) -> bool:
        identity = (file.st_dev, file.st_ino)
        return self._pid == os.getpid() and any(held[1:] == identity for held in list(self._files))

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _temporary(self) -> str:
        return os.path.join(self.directory, f"LTMP.{os.getpid()}.{next(_temporary)}")

    def _create(self, path: str) -> None:
        try:
            for _ in range(_ATTEMPTS):
                if self._link(path):
                    return
                holder = read_lock(path)
                if holder is None:
                    continue
                if not holder.stale:
                    raise LockHeld(self.device, path, holder.pid, holder.program)
                self._take_away(path)
        except OSError as error:
            if isinstance(error, LineError):
                raise
            hint = ""
            if error.errno in (errno.EACCES, errno.EPERM):
                hint = " (may this user write there? another directory can be given)"
            raise LockFailed(self.device, f"lock file {path}: {error.strerror}{hint}") from error
        raise LockFailed(self.device, f"lock file {path}: it comes and goes too fast")

    def _link(self, path: str) -> bool:
        """Make the lock file, whole, if there is none; False: there is one."""
        temporary = self._temporary()
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            try:
                os.write(file, b"%10d\n" % os.getpid())
                status = os.fstat(file)
            finally:
                os.close(file)
            held = (path, status.st_dev, status.st_ino)
            self._files.append(held)  # before it can be seen: another thread would take it for stale
            try:
                os.link(temporary, path)
            except FileExistsError:
                self._files.remove(held)
                return False
            return True
        finally:
            os.unlink(temporary)

    def _take_away(self, path: str) -> None:
        """Remove a lock if it is stale, and no other: between the look and the deed it may have been renewed.

        Whoever removes holds a flock on the very file meanwhile, and sees that the name still leads to that file: it is
        open, so its inode is not given to another one.
        """
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # somebody else is about to remove it
                time.sleep(0.001)
                return
            with _letting_go:
                holder = read_lock(path)
                if holder is None or holder.inode != os.fstat(file).st_ino or not holder.stale:
                    return
                os.unlink(path)
        finally:
            os.close(file)
        if holder.pid is None:
            whose = "without a process id"
        elif holder.pid == os.getpid():
            whose = f"of an earlier process {holder.pid}, the id of this one"
        else:
            whose = f"of process {holder.pid}, which is dead"
        _log.warning("%s: took over the stale lock %s %s", self.device, path, whose)


def _release_all() -> None:
    for lock in list(_held):
        lock.release()


atexit.register(_release_all)
