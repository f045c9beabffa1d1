"""``df.hfnb``: runs and previews for those who chain pandas' methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas.api.extensions import register_dataframe_accessor

if TYPE_CHECKING:
    import pandas as pd

    from hfnb.frame.preview import Preview


class FrameAccessor:
    """Runs prompts over the rows of a pandas frame; it is there once hfnb is imported.

    Example:
        >>> import hfnb, pandas as pd
        >>> df = pd.DataFrame({"i": [1, 72]})
        >>> df.hfnb.run("What is {i}?", hfnb.EchoEngine(), into="answer").data["answer"][1]
        'What is 72?'
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def run(self, prompt: Any, llm: Any = None, **options: Any) -> Any:
        """Run a prompt for every row; see `hfnb.run`.

        Args:
            prompt: As in `hfnb.run`.
            llm: As there; by default the model in use: the one that ``%hfnb load``, a cell or the
                panel has loaded.
            **options: Those of `hfnb.run`.

        Returns:
            A `RunResult`.

        Raises:
            HfnbError: As `hfnb.run` does.

        Example:
            >>> import hfnb, pandas as pd
            >>> llm = hfnb.load("hfnb/numbers-fr")
            >>> df = pd.DataFrame({"i": range(100)})
            >>> df.query("i > 97").hfnb.run("What is the number {i} in french?", llm).data
                 i               output
            98  98  quatre-vingt-dix-huit
            99  99  quatre-vingt-dix-neuf
        """
        from hfnb.frame.run import run

        return run(self._frame, prompt, _model(prompt, llm), **options)

    def preview(self, prompt: Any, llm: Any = None, **options: Any) -> Preview:
        """Show what a run would be like; see `hfnb.preview`.

        Args:
            prompt: As in `hfnb.preview`.
            llm: As there; by default the model in use.
            **options: Those of `hfnb.preview`.

        Returns:
            A `Preview`.

        Raises:
            HfnbError: As `hfnb.preview` does.

        Example:
            >>> import hfnb, pandas as pd
            >>> df = pd.DataFrame({"i": [1, 72]})
            >>> df.hfnb.preview("What is {i}?", hfnb.EchoEngine()).rows
            2
        """
        from hfnb.frame.preview import preview

        return preview(self._frame, prompt, _model(prompt, llm), **options)


def _model(prompt: Any, llm: Any) -> Any:
    """Return the given model, or the one in use for a prompt that brings none."""
    if llm is not None or not isinstance(prompt, str):
        return llm
    from hfnb import session

    return session.current()


def register() -> None:
    """Give every pandas frame its ``hfnb``, unless it has one already."""
    import pandas as pd

    if not hasattr(pd.DataFrame, "hfnb"):
        register_dataframe_accessor("hfnb")(FrameAccessor)
