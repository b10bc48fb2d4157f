"""``eqlbond run`` as a class: a bond, its lines, its interface and its control socket, from one configuration."""

from eqlbond.router.router import Router

__all__ = ["Router"]
