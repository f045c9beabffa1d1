"""How many tokens a prompt and its answer may have."""

from __future__ import annotations

from typing import Any

from hfnb.errors import PromptTooLongError
from hfnb.spec import DEFAULT_MAX_NEW_TOKENS


def prompt_room(options: dict[str, Any], context: int | None, *, shared: bool = True) -> int | None:
    """Return how many tokens a prompt may have so that its answer fits too; ``None``: any number.

    At least half of the context is left to the prompt. The arguments are those of
    `new_token_limit`.
    """
    if not shared:
        return context
    limits = [each for each in (context, options.get("max_length")) if each is not None]
    if not limits:
        return None
    wanted = int(options.get("max_new_tokens") or DEFAULT_MAX_NEW_TOKENS)
    return max(1, min(limits) - min(wanted, min(limits) // 2))


def new_token_limit(
    options: dict[str, Any], prompt_tokens: int, context: int | None, *, shared: bool = True
) -> tuple[int, PromptTooLongError | None]:
    """Return how many new tokens a row may have, or why it can't have any.

    ``max_length`` counts the row's own prompt, never padding.

    Args:
        options: The generation options in force.
        prompt_tokens: The number of tokens of the row's prompt.
        context: The most positions there are, or ``None``.
        shared: Whether prompt and answer share them, as in a decoder. In an encoder-decoder each
            has its own, and ``max_length`` counts the answer alone.
    """
    before = prompt_tokens if shared else 0
    if context is not None and prompt_tokens > (context - 1 if shared else context):
        return 0, PromptTooLongError(
            f"The prompt has {prompt_tokens:,} tokens and the model's context holds {context:,}"
            f"{', answer included' if shared else ''}.",
            option="truncation='value'",
        )
    if "max_new_tokens" in options:
        most = int(options["max_new_tokens"])
    elif "max_length" in options:
        most = int(options["max_length"]) - before
        if most < 1:
            return 0, PromptTooLongError(
                f"The prompt has {prompt_tokens:,} tokens and max_length={options['max_length']} "
                "counts them too, so that no new token fits. Use max_new_tokens instead."
            )
    else:
        most = DEFAULT_MAX_NEW_TOKENS
    return (most if context is None else min(most, context - before)), None
