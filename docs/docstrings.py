"""How docstrings are read for the reference."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class Examples(griffe.Extension):
    """Reads ``Example:`` as ``Examples:``, which alone is a section of code to griffe."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Look at each object that has a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub("Examples:", obj.docstring.value)
