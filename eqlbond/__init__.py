"""eqlbond: serial lines bonded into one link."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from eqlbond._public import *  # noqa: F403
    from eqlbond._public import __all__ as __all__
else:

    def __getattr__(name):
        """The public names come with the first use of one (PEP 562), so that the commands start without them."""
        from importlib import import_module

        public = import_module("eqlbond._public")
        if name == "__all__" or name in public.__all__:
            return getattr(public, name)
        if name in globals():  # a module that was imported with them
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        from importlib import import_module

        return sorted({*globals(), *import_module("eqlbond._public").__all__})
