"""What is timed: each rival is a function from prompts to their new texts, in the prompts' order.

Here are hfnb's own; `rivals_torch` and `rivals_openvino` have what users take instead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from workloads import Workload

Rival = Callable[[list[str]], list[str]]


def hfnb_run(
    llm: Any,
    workload: Workload,
    said: list[str] | None = None,
    *,
    batch_size: int | Literal["auto"] = "auto",
) -> Rival:
    """Return `hfnb.run` over a DataFrame; ``said`` gets its statistics as text.

    It keeps a journal, as without a setting, but an empty one each time: rows that an earlier run
    has answered would not be computed.
    """
    import pandas as pd

    import hfnb

    def call(prompts: list[str]) -> list[str]:
        frame = pd.DataFrame({"prompt": prompts})
        with tempfile.TemporaryDirectory() as folder:
            result = hfnb.run(
                frame,
                "{prompt}",
                llm,
                chat=workload.chat,
                max_new_tokens=workload.new_tokens,
                stop=list(workload.stop) or None,
                progress=False,
                journal=Path(folder) / "journal",
                batch_size=batch_size,
            )
        assert result.stats.ok == len(prompts)
        if said is not None:
            said[:] = [str(result.stats)]
        texts: list[str] = result.data["output"].tolist()
        return texts

    return call


def engine_alone(llm: Any, workload: Workload) -> Rival:
    """Return hfnb's engine without a DataFrame: requests in, completions out."""
    from hfnb.engines.base import Chat, Message, Request
    from hfnb.spec import GenerationSpec

    stop = {"stop": list(workload.stop)} if workload.stop else {}
    spec = GenerationSpec.of(max_new_tokens=workload.new_tokens, **stop)

    def call(prompts: list[str]) -> list[str]:
        asked = [Chat((Message("user", each),)) if workload.chat else each for each in prompts]
        requests = [Request(row, each) for row, each in enumerate(asked)]
        texts = [""] * len(prompts)
        for done in llm.engine.generate(requests, spec):
            texts[done.row] = done.text
        return texts

    return call


def cut(texts: Sequence[str], stop: Sequence[str]) -> list[str]:
    """Cut texts before the first stop string, as hfnb does."""
    found = []
    for text in texts:
        ends = [text.find(each) for each in stop if each in text]
        found.append(text[: min(ends)] if ends else text)
    return found


def in_batches(
    prompts: Sequence[str],
    batch_size: int,
    answer: Callable[[list[str]], Sequence[str]],
    *,
    ordered: bool = True,
) -> list[str]:
    """Answer prompts in batches, by length unless told otherwise; return their texts in order."""
    order = list(range(len(prompts)))
    if ordered:
        order.sort(key=lambda i: len(prompts[i]))
    texts = [""] * len(prompts)
    for begin in range(0, len(order), batch_size):
        chosen = order[begin : begin + batch_size]
        for i, text in zip(chosen, answer([prompts[i] for i in chosen]), strict=True):
            texts[i] = text
    return texts


def rendered(tokenizer: Any, workload: Workload, prompt: str) -> str:
    """Return a prompt as the model is given it."""
    if not workload.chat:
        return prompt
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return text


def equal(texts: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> int:
    """Count the rows, over all rounds, whose texts are the same."""
    return sum(
        a.strip() == b.strip()
        for mine, theirs in zip(texts, others, strict=True)
        for a, b in zip(mine, theirs, strict=True)
    )
