"""What `from eqlbond.control import ...` offers, as `eqlbond._public` for the package."""

from eqlbond.control.client import ControlClient
from eqlbond.control.commands import Commands
from eqlbond.control.errors import ControlError, ControlUnavailable, RequestRefused, SocketInUse
from eqlbond.control.place import default_socket
from eqlbond.control.server import ControlServer
from eqlbond.control.version import VERSION

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
