"""Children that run a model over a frame, to be killed at any moment; see `test_crashes`.

    python -m tests.frame.storm FOLDER BACKEND [now]

The child says ``ready`` once the model is loaded, and on each line that it reads forks a process
that does the run and is as mortal as any (with ``now``, it does the run itself, once). Each row
that the engine is given goes to the file ``asked`` in FOLDER, and the finished frame to
``data.parquet``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

import hfnb
from hfnb.engines.base import Request

ROWS = 240
PROMPT = "What is the number {i} in french?"
OPTIONS: dict[str, Any] = {"into": "french", "stop": ["\n"], "max_new_tokens": 40}


def frame() -> pd.DataFrame:
    return pd.DataFrame({"i": [at * 41 % 9973 for at in range(ROWS)]})


def noted(engine: Any, folder: Path) -> Any:
    """Have an engine write down each row that it is given."""
    generate = engine.generate
    asked = os.open(folder / "asked", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def drawn(requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            os.write(asked, b"%d\n" % request.row)
            yield request

    engine.generate = lambda requests, *args, **options: generate(drawn(requests), *args, **options)
    return engine


def run(llm: Any, folder: Path) -> None:
    # Few rows at a time, so that they end one after the other and not all at once.
    result = hfnb.run(
        frame(),
        PROMPT,
        llm,
        journal=folder / "journal",
        batch_size=8,
        progress=False,
        **OPTIONS,
    )
    part = folder / f"part-{os.getpid()}"
    result.data.to_parquet(part)
    part.rename(folder / "data.parquet")


def main() -> None:
    folder, backend = Path(sys.argv[1]), sys.argv[2]
    if backend == "pytorch":
        import torch

        torch.set_num_threads(1)  # threads that a fork would not take along
    llm = hfnb.load("hfnb/numbers-fr", backend=backend)
    noted(llm.engine, folder)
    print("ready", flush=True)
    if sys.argv[3:] == ["now"]:
        run(llm, folder)
        return
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            run(llm, folder)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
