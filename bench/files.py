"""The whole notebook path: parquet in, run, parquet out, beside the same by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import rivals_openvino
import rivals_torch
from measure import in_turn
from peers import load
from rivals import Rival, equal, hfnb_run
from workloads import SHORT

TITLE = "Parquet in, run, parquet out"
ROUNDS = 2
_MINE = "hfnb, OpenVINO"


def run() -> str:
    """Return the results as Markdown."""
    torch_llm, openvino_llm = load(SHORT, dtype="float32"), load(SHORT, backend="openvino")
    export = openvino_llm.engine.model.folder
    candidates = [
        ("langchain-huggingface, its defaults", through(rivals_torch.langchain(SHORT))),
        (
            "langchain-huggingface, `backend='openvino'`",
            through(rivals_openvino.langchain(SHORT, export)),
        ),
        (
            "transformers generate, sorted, batch 32",
            through(rivals_torch.generate_in_batches(SHORT, 32, "float32")),
        ),
        ("hfnb, PyTorch float32", through(hfnb_run(torch_llm, SHORT))),
        ("hfnb, OpenVINO, from folder to folder", folder_to_folder(openvino_llm)),
        (_MINE, through(hfnb_run(openvino_llm, SHORT))),
    ]
    texts: dict[str, list[list[str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        sources = [write(Path(folder) / f"{seed}.parquet", seed) for seed in range(ROUNDS)]
        few = write(Path(folder) / "few.parquet", 99, rows=8)
        for _, call in candidates:
            call(few)  # warm up
        timings = in_turn(candidates, sources, texts)
    mine = timings[-1].median
    rows = ROUNDS * len(SHORT.prompts(0))
    return "\n".join(
        [
            f"{SHORT.title}, {SHORT.model_title}: a file of prompts is read, answered and written "
            f"with a column of answers; {ROUNDS} rounds in turn, each with a new file.",
            "",
            f"| | median, s | fastest-slowest, s | {_MINE} is faster by | of {rows} rows, equal |",
            "| --- | --- | --- | --- | --- |",
            *(
                f"| {each.name} | {each.median:.2f} | {each.spread} | {each.median / mine:.2f}x | "
                f"{equal(texts[each.name], texts[_MINE])} |"
                for each in timings
            ),
        ]
    )


def write(path: Path, seed: int, rows: int | None = None) -> Path:
    """Write a file of prompts."""
    pd.DataFrame({"prompt": SHORT.prompts(seed)[:rows]}).to_parquet(path)
    return path


def through(rival: Rival) -> Callable[[Path], list[str]]:
    """Let a rival read its prompts from a file, and write its texts beside them."""

    def call(source: Path) -> list[str]:
        frame = pd.read_parquet(source)
        frame["output"] = rival(frame["prompt"].tolist())
        frame.to_parquet(source.with_suffix(".done"))
        return frame["output"].tolist()

    return call


def folder_to_folder(llm: object) -> Callable[[Path], list[str]]:
    """Return `hfnb.run` from a file to a folder, which reads and writes piece by piece.

    Its journal is empty each time, as in `rivals.hfnb_run`.
    """
    import hfnb

    def call(source: Path) -> list[str]:
        with tempfile.TemporaryDirectory() as out, tempfile.TemporaryDirectory() as folder:
            result = hfnb.run(
                source,
                "{prompt}",
                llm,
                out=out,
                journal=Path(folder) / "journal",
                chat=True,
                max_new_tokens=SHORT.new_tokens,
                progress=False,
            )
            return [
                text for file in result.files for text in pd.read_parquet(file)["output"].tolist()
            ]

    return call
