"""Steering a bond while it runs, over a UNIX socket.

The protocol is lines of JSON; docs/control.md describes it. `ControlServer` serves a `Master`, in `eqlbond run` or in
an application of one's own; `ControlClient` talks to one.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eqlbond.control._public import *  # noqa: F403
    from eqlbond.control._public import __all__ as __all__
else:

    def __getattr__(name):
        """The names come with the first use of one: a client does not need what the server does."""
        from importlib import import_module

        public = import_module("eqlbond.control._public")
        if name == "__all__" or name in public.__all__:
            return getattr(public, name)
        if name in globals():
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        from importlib import import_module

        return sorted({*globals(), *import_module("eqlbond.control._public").__all__})
