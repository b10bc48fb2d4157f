"""The TUN device of Linux: opening it, and what can be asked of an interface without rights."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import getpass
import os
import socket
import struct
from collections.abc import Iterator

from eqlbond.exceptions import DeviceBusy, DeviceNotFound, DevicePermission, LineError

DEVICE = "/dev/net/tun"

# linux/if_tun.h, linux/sockios.h, linux/sched.h
_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_SIOCGIFMTU = 0x8921
_SIOCGIFFLAGS = 0x8913
_IFF_UP = 1
_CLONE_NEWNET = 0x40000000
_IFREQ = struct.Struct("16sH22x")
_IFREQ_INT = struct.Struct("16si20x")

UNPRIVILEGED = (
    "make it once as root, for this user: ip tuntap add dev {name} mode tun user {user}; "
    "ip address add ADDRESS dev {name}; ip link set {name} up mtu {mtu}"
)


def how_without_rights(name: str, mtu: int | None = None) -> str:
    """What to tell somebody who may not."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        user = str(os.getuid())
    return UNPRIVILEGED.format(name=name.replace("%d", "0"), user=user, mtu=mtu or 1500)


@contextlib.contextmanager
def in_namespace(namespace: str | None) -> Iterator[None]:
    """Have this thread in a network namespace; a name as of ``ip netns``, or a path.

    Raises:
        DeviceNotFound: there is none of that name.
        DevicePermission: CAP_SYS_ADMIN is missing.
    """
    if namespace is None:
        yield
        return
    path = namespace if "/" in namespace else f"/run/netns/{namespace}"
    try:
        target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DeviceNotFound(path, f"no such network namespace ({error.strerror}): ip netns add NAME") from error
    try:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(target, path)
            try:
                yield
            finally:
                _enter(home, path)
        finally:
            os.close(home)
    finally:
        os.close(target)


def _enter(descriptor: int, path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        if number == errno.EPERM:
            raise DevicePermission(path, "entering a network namespace needs CAP_SYS_ADMIN")
        raise LineError(path, f"is no network namespace: {os.strerror(number)}")


def open_tun(name: str) -> tuple[int, str, bool]:
    """Open or make the TUN interface, in this thread's network namespace.

    Returns:
        its descriptor (non-blocking), its name, and whether it was there before.

    Raises:
        DeviceNotFound: the kernel has no TUN.
        DevicePermission: this user may not.
        DeviceBusy: another process is at it.
        LineError: there is an interface of that name, which is no TUN.
    """
    there = name in [entry[1] for entry in socket.if_nameindex()]
    try:
        descriptor = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise DevicePermission(name, f"{DEVICE} may not be opened: chmod 666 {DEVICE} as root") from error
    except OSError as error:
        problem = f"{DEVICE} cannot be opened ({error.strerror}): modprobe tun; in a container: --device {DEVICE}"
        raise DeviceNotFound(name, problem) from error
    try:
        answer = fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EPERM:
            which = "it belongs to another user" if there else "to make an interface"
            problem = f"{which}: CAP_NET_ADMIN is needed. Without it: {how_without_rights(name)}"
            raise DevicePermission(name, problem) from error
        if error.errno == errno.EBUSY:
            raise DeviceBusy(name, "another process is attached to this interface") from error
        if error.errno == errno.EINVAL and there:
            raise LineError(name, "there is an interface of this name, and it is no TUN in the usual mode") from error
        raise LineError(name, f"cannot be made: {error.strerror}") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, _IFREQ.unpack(answer)[0].rstrip(b"\0").decode(), there


class Interface:
    """What the kernel says of an interface, in the namespace where this was made; needs no rights."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        """Done."""
        self._socket.close()

    def mtu(self) -> int:
        """Bytes. Raises `DeviceNotFound` where the interface is gone."""
        return self._ask(_SIOCGIFMTU, _IFREQ_INT)

    def is_up(self) -> bool:
        """Whether it is set up. Raises `DeviceNotFound` where the interface is gone."""
        return bool(self._ask(_SIOCGIFFLAGS, _IFREQ) & _IFF_UP)

    def _ask(self, question: int, form: struct.Struct) -> int:
        try:
            answer = fcntl.ioctl(self._socket, question, form.pack(self.name.encode(), 0))
        except OSError as error:
            raise DeviceNotFound(self.name, f"the interface is gone ({error.strerror})") from error
        value: int = form.unpack(answer)[1]
        return value
