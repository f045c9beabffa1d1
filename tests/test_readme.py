"""The README's Python runs, block after block, as a reader would type it."""

import re
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_python_runs_and_its_links_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["result"].data["answer"].tolist() == [
        "soixante-douze",
        "sept",
        "mille neuf cent quatre-vingt-quatre",
    ]
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (README.parent / target).exists(), target
