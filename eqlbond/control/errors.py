"""What can go wrong with the control socket.

::

    ControlError (EqlbondError)
    |-- ControlUnavailable    nobody answers at the socket
    |-- SocketInUse           a live instance has the socket
    `-- RequestRefused        the bond answered that it does not do it; `kind` says why
"""

from __future__ import annotations

from eqlbond.exceptions import EqlbondError


class ControlError(EqlbondError):
    """Something about the control socket."""


class ControlUnavailable(ControlError):
    """Nobody answers at the socket, or the connection broke."""


class SocketInUse(ControlError):
    """A live instance has the socket."""


class RequestRefused(ControlError):
    """The bond answered that it does not do what was asked.

    Attributes:
        kind: the name of the exception on the bond's side, such as ``NotEnslaved``, or of the protocol's own errors.
    """

    def __init__(self, kind: str, problem: str) -> None:
        super().__init__(problem)
        self.kind = kind
