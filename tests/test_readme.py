"""The README's Python runs, block after block, as a reader would type it."""

import ast
import re
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
# A line with what it gives: `chain.invoke({"i": 72})  # 'soixante-douze'`.
_WITH_VALUE = re.compile(r"^(\S.*?)  # (['\[].*)$", flags=re.MULTILINE)


def test_the_readmes_python_runs_and_its_links_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 4
    shown = 0
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
        for code, value in _WITH_VALUE.findall(block):
            assert eval(code, names) == ast.literal_eval(value), code
            shown += 1
    assert shown >= 2
    assert names["result"].data["answer"].tolist() == [
        "soixante-douze",
        "sept",
        "mille neuf cent quatre-vingt-quatre",
    ]
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (README.parent / target).exists(), target
