"""Steering a bond while it runs, over a UNIX socket.

The protocol is lines of JSON; docs/control.md describes it. `ControlServer` serves a `Master`, in `eqlbond run` or in
an application of one's own; `ControlClient` talks to one.
"""

from eqlbond.control.client import ControlClient
from eqlbond.control.commands import Commands
from eqlbond.control.errors import ControlError, ControlUnavailable, RequestRefused, SocketInUse
from eqlbond.control.messages import VERSION
from eqlbond.control.place import default_socket
from eqlbond.control.server import ControlServer

__all__ = [
    "VERSION",
    "Commands",
    "ControlClient",
    "ControlError",
    "ControlServer",
    "ControlUnavailable",
    "RequestRefused",
    "SocketInUse",
    "default_socket",
]
