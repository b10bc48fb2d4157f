"""What the control socket of `eqlbond run` does beside what any bond's does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eqlbond.aio.slave import Slave
from eqlbond.config import SlaveConfig
from eqlbond.control.commands import Arguments, Commands

if TYPE_CHECKING:
    from eqlbond.router.router import Router


class RouterCommands(Commands):
    """Requests to a router: its lines are supervised, and it has a file that can be read again."""

    def __init__(self, router: Router) -> None:
        super().__init__(router.master)
        self._router = router

    @property
    def shared_ppp(self) -> Mapping[str, Any]:
        """The file's ``[ppp]``, as it was read last."""
        return self._router.config.ppp

    def status(self) -> dict[str, Any]:
        """As any bond's, with the interface, and what the supervisor does for lines that are down."""
        return {**super().status(), **self._router.describe()}

    def show_master(self) -> dict[str, Any]:
        """As any bond's, with the interface."""
        return {**super().show_master(), "interface": self._router.describe()["interface"]}

    async def enslave(self, slave: Slave, config: SlaveConfig) -> Slave:
        """Add the slave; one that cannot be opened now is refused, one that goes down later is brought back."""
        await self._router.enslave(slave, config)
        return slave

    async def do_reload(self, arguments: Arguments) -> Any:
        """Read the configuration file again, and do what has changed."""
        if arguments:
            await super().do_reload(arguments)
        return await self._router.reload()
