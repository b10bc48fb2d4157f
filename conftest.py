"""What all tests share: the examples in the docs, the README and the docstrings run as tests too."""

from __future__ import annotations

import gc
import os
from doctest import ELLIPSIS

from hypothesis import settings
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers import markdown, myst, rest
from sybil.sybil import SybilCollection

from tests.examples import examples

# Deadlines of single examples would measure the machine's load, not the code.
settings.register_profile("eqlbond", deadline=None, max_examples=examples(30))
# In CI a change is judged by the same examples each time; elsewhere each run tries new ones.
settings.register_profile("ci", settings.get_profile("eqlbond"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "eqlbond")

# An example that needs hardware is left out by a comment above it: <!-- skip: next "needs a serial port" -->
pytest_collect_file = SybilCollection(
    [
        Sybil(
            parsers=[myst.PythonCodeBlockParser(doctest_optionflags=ELLIPSIS), myst.SkipParser()],
            path="docs",
            patterns=["*.md"],
        ),
        Sybil(
            parsers=[markdown.PythonCodeBlockParser(doctest_optionflags=ELLIPSIS), markdown.SkipParser()],
            filenames=["README.md"],
        ),
        Sybil(
            parsers=[rest.DocTestParser(optionflags=ELLIPSIS), rest.SkipParser()],
            path="eqlbond",
            patterns=["*.py"],
            document_types={".py": PythonDocStringDocument},
        ),
    ]
).pytest()


def pytest_collection_finish() -> None:
    """What the collection has made stays to the end: no search for garbage has to walk through it again."""
    gc.collect()
    gc.freeze()
