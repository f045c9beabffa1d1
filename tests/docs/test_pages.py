"""What README.md and the documentation show is run, and gives what they say."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import hfnb
from hfnb import session
from tests.docs.blocks import NOT_RUN, ROOT, Block, Reader, blocks_of, pages
from tests.needs import require

_RUN = ("python", "ipython")
PAGES = [page for page in pages() if any(block.language in _RUN for block in blocks_of(page))]
_NEEDS = {"openvino": "openvino", "schema": "structured", "structured_output": "structured"}
_PROGRAMS = {"hf", "jupyter", "mkdocs", "optimum-cli"}
"""What is looked up by name alone, beside make, python and pip."""


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.chdir(tmp_path)
    found = Reader()
    yield found
    found.names.clear()
    session.use(None)
    hfnb.unload()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_runs_and_shows_what_it_says(
    page: Path, reader: Reader, tmp_path_factory: pytest.TempPathFactory
) -> None:
    blocks = blocks_of(page)
    code = "".join(each.code for each in blocks if each.language in _RUN)
    for word, need in _NEEDS.items():
        if re.search(rf"\b{word}\b", code):
            require(need)
    for block in blocks:
        reader.read(block)


def test_what_pages_say_of_results_is_compared_with_them() -> None:
    outputs = [each for page in pages() for each in blocks_of(page) if each.title == "Output"]
    assert len(outputs) >= 10


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    every = [each for page in pages() for each in blocks_of(page)]
    left_out = [each for each in every if each.title.startswith(NOT_RUN)]
    assert len(left_out) <= 12
    assert all(len(each.title) > len(NOT_RUN) + 8 for each in left_out)
    for block in every:
        assert block.language in ("python", "ipython", "text", "sh", "toml"), block.place
        assert block.title in ("", "Output") or block in left_out, block.place


def _commands(block: Block) -> Iterator[list[str]]:
    for line in block.code.splitlines():
        if found := shlex.split(line, comments=True):
            yield found


def test_the_commands_of_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    looked_up = 0
    for page in pages():
        for block in blocks_of(page):
            if block.language != "sh":
                continue
            for command in _commands(block):
                while "=" in command[0]:  # a variable before the command
                    command.pop(0)
                program, rest = command[0], command[1:]
                if program == "make":
                    unknown = [each for each in rest if "=" not in each and each not in targets]
                    assert not unknown, block.place
                elif program in ("pip", "git", "cd"):
                    for names in re.findall(r"(?:hfnb|\.)\[([\w,]+)\]", " ".join(rest)):
                        assert set(names.split(",")) <= extras, block.place
                elif program in ("python", "python3.11"):
                    module = rest[rest.index("-m") + 1] if "-m" in rest else ""
                    file = ROOT / (rest[0] if rest else "")
                    assert file.is_file() or _is_module(module), block.place
                else:
                    assert Path(program).name in _PROGRAMS, f"{block.place}: {program}"
                looked_up += 1
    assert looked_up >= 10


def _is_module(name: str) -> bool:
    parts = name.split(".")
    if parts[0] in ("venv", "http", "jupyterlab"):
        return True
    return (ROOT.joinpath(*parts, "__main__.py")).exists() or (
        ROOT.joinpath(*parts[:-1], f"{parts[-1]}.py")
    ).exists()


def test_the_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    targets += re.findall(r"(?:srcset|src|href)=\"(?!https?:)([^\"]+)\"", text)
    assert len(targets) >= 20
    for target in targets:
        name, _, anchor = target.partition("#")
        page = ROOT / name if name else ROOT / "README.md"
        assert page.exists(), target
        if anchor:
            assert anchor in _anchors(page), target


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts and MkDocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", each.lower()) for each in headings]
    return {each.strip().replace(" ", "-") for each in plain}


def test_python_that_is_not_run_is_python() -> None:
    for page in pages():
        for block in blocks_of(page):
            if block.language == "python":
                ast.parse(block.code, filename=block.place)
