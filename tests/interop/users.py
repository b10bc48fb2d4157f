"""Running a test as an ordinary user, where the tests themselves are run by root."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable

NOBODY = 65534


def as_ordinary_user(function: Callable[[], object]) -> None:
    """Call it in a child process that has given root up for good; raises what it raised, as text."""
    if os.geteuid() != 0:
        function()
        return
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of 3.12: the child goes on with one thread
        child = os.fork()
    if child == 0:
        said = "it has not begun"
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.environ["HOME"] = "/"
            assert os.geteuid() != 0
            function()
            said = ""
        except BaseException:
            said = traceback.format_exc()
        finally:
            os.write(writing, said.encode()[:60000])
            os._exit(bool(said))
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, said or f"the child ended with status {status}"
