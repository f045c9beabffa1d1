"""Few-shot examples: a row's prompt and the right answer, in front of the prompt."""

from __future__ import annotations

from hfnb.escapes import escape_braces


def with_example(prompt: str, asked: str, answer: str) -> str:
    r"""Return a prompt with an example in front of it.

    Args:
        prompt: The template.
        asked: A row's prompt, rendered.
        answer: The answer that the model should have given.

    Example:
        >>> print(with_example("Q: {q}\nA:", "Q: 1+1?\nA:", "2"))
        Q: 1+1?
        A: 2
        <BLANKLINE>
        Q: {q}
        A:
    """
    between = "" if asked[-1:].isspace() else " " if asked.endswith((":", "=", ">")) else "\n"
    example = f"{asked}{between}{answer.strip()}"
    return f"{escape_braces(example)}\n\n{prompt}"
