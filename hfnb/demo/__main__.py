"""``python -m hfnb.demo [ROWS]``: a prompt over a DataFrame with a packaged model."""

from __future__ import annotations

import argparse
import os

_FIRST = (72, 7, 21, 80, 99, 200, 1984, 2026, 4321, 9999)
_CALLS = """llm = hfnb.load("hfnb/numbers-fr")
hfnb.run(df, "{question}", llm, into="french", max_new_tokens=32)
"""


def main() -> None:
    """Run the demo and print the table and the statistics."""
    parser = argparse.ArgumentParser(prog="python -m hfnb.demo", description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=50, help="rows to run (default 50)")
    rows = max(0, parser.parse_args().rows)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything that is needed is in the package

    import pandas as pd

    import hfnb

    numbers = [*_FIRST, *(i * 37 % 10_000 for i in range(1, rows + 1))][:rows]
    df = pd.DataFrame({"question": [f"What is the number {i} in french?" for i in numbers]})
    print(_CALLS, flush=True)
    llm = hfnb.load("hfnb/numbers-fr")
    # Without the journal, so that each demo measures anew.
    print(hfnb.run(df, "{question}", llm, into="french", max_new_tokens=32, journal=False))


if __name__ == "__main__":
    main()
