"""``python -m hfnb.demo [ROWS]``: a prompt over a DataFrame with a packaged model."""

from __future__ import annotations

import argparse
import os

PROMPT = "What is the number {i} in french?"
_FIRST = (72, 7, 21, 80, 99, 200, 1984, 2026, 4321, 9999)


def main() -> None:
    """Run the demo and print the table, the statistics, and what to do next."""
    parser = argparse.ArgumentParser(prog="python -m hfnb.demo", description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=50, help="rows to run (default 50)")
    rows = parser.parse_args().rows
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything that is needed is in the package

    import pandas as pd

    import hfnb

    numbers = (*_FIRST, *(i * 37 % 10_000 for i in range(1, 10_000)))
    frame = pd.DataFrame({"i": numbers[: max(rows, 0)]})
    print("llm = hfnb.load('hfnb/numbers-fr')", flush=True)
    llm = hfnb.load("hfnb/numbers-fr")
    print(f"result = hfnb.run(df, {PROMPT!r}, llm, into='answer')\n", flush=True)
    print(hfnb.run(frame, PROMPT, llm, into="answer", max_new_tokens=32))


if __name__ == "__main__":
    main()
