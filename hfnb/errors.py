"""The exceptions of hfnb. Every message says what happened, why, and what to do next.

    HfnbError
    ├── ModelError            a model that can't be found, read or run
    │   ├── ModelNotFoundError    no packaged model, folder or Hub id of that name
    │   └── ModelFilesError       the files are there, but broken or not what they should be
    ├── OptionError           an argument with an unknown name or an impossible value
    │   └── DeviceError           a device that this machine does not have
    ├── TemplateError         a prompt that does not fit the DataFrame's columns
    ├── MissingExtraError     a part of hfnb whose packages are not installed
    └── RowError              one row that failed; it stays in ``result.errors``, or is raised
        ├── PromptTooLongError    more tokens than the model's context holds
        ├── AnswerError           the answer is not what the schema asks for, such as half of it
        └── EngineError           the engine failed while it computed this row

    JournalWarning            the journal can't be used; the run goes on without it
    TightMemoryWarning        a model that only just fits beside those in memory
    SmallClusterWarning       a Ray cluster with too few cores for a run

``OptionError`` and ``TemplateError`` are also ``ValueError``, ``ModelNotFoundError`` is also
``LookupError``, and ``MissingExtraError`` is also ``ImportError``, so that code which catches the
standard exceptions keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HfnbError(Exception):
    """What all exceptions of hfnb have in common.

    Example:
        >>> import hfnb
        >>> try:
        ...     hfnb.load("hfnb/numbers-fx")
        ... except hfnb.HfnbError as error:
        ...     print(type(error).__name__)
        ModelNotFoundError
    """


class ModelError(HfnbError):
    """A model can't be found, read or run."""


class ModelNotFoundError(ModelError, LookupError):
    """There is no packaged model, folder or Hub id of that name."""


class ModelFilesError(ModelError):
    """A model's files are there, but broken, incomplete or of another kind."""


class OptionError(HfnbError, ValueError):
    """An argument has an unknown name or an impossible value."""


class DeviceError(OptionError):
    """This machine does not have that device."""


class TemplateError(HfnbError, ValueError):
    """A prompt does not fit the DataFrame's columns."""


class MissingExtraError(HfnbError, ImportError):
    """A part of hfnb needs packages that are not installed."""


class RowError(HfnbError):
    """One row failed."""


class PromptTooLongError(RowError):
    """A prompt has more tokens than the model's context holds.

    Args:
        message: What is too long, and why.
        option: The argument that shortens a prompt, as the call that was made has it; ``None``
            where none can help.
    """

    def __init__(self, message: str, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option

    def __str__(self) -> str:
        """Return what is wrong and, where an argument helps, what to do next."""
        message = super().__str__()
        if self.option is None:
            return message
        return (
            f"{message} Shorten the text, pass {self.option} to have its middle left out, or use "
            "a model with a longer context."
        )

    def with_option(self, option: str | None) -> PromptTooLongError:
        """Return the same error for a call with another such argument."""
        return PromptTooLongError(str(self.args[0]), option)


class AnswerError(RowError):
    """An answer is not what the schema asks for: cut off, or refused by a validator.

    Args:
        message: What is wrong with it.
        text: The answer, as far as it came.
    """

    def __init__(self, message: str, text: str | None = None) -> None:
        super().__init__(message)
        self.text = text


class EngineError(RowError):
    """The engine failed while it computed this row."""


class JournalWarning(UserWarning):
    """The journal of finished rows can't be used; the run goes on without it."""


class TightMemoryWarning(UserWarning):
    """A model that is being loaded only just fits beside those that are in memory."""


class SmallClusterWarning(UserWarning):
    """A Ray cluster has too few cores for a run, which waits until there are more."""


def closest(name: object, known: Iterable[object]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name nearest to ``name``, else ``""``.

    Args:
        name: What the user wrote.
        known: The names that would have been right.

    Returns:
        A sentence that begins with a space, or an empty string when nothing is near.
    """
    by_lower: dict[str, str] = {}
    for each in known:
        by_lower.setdefault(str(each).lower(), str(each))
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""


def listing(names: Iterable[object], limit: int = 12) -> str:
    """Return names for a message, comma-separated, the first ``limit`` of them."""
    every = [str(name) for name in names]
    shown = ", ".join(every[:limit])
    return f"{shown}, ... ({len(every)} in all)" if len(every) > limit else shown
