"""What README.md and the documentation show is run, and gives what they say."""

import os
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hfnb
from hfnb import session
from tests.docs.blocks import NOT_RUN, ROOT, Block, Reader, blocks_of, pages
from tests.needs import require

_RUN = ("python", "ipython")
PAGES = [page for page in pages() if any(block.language in _RUN for block in blocks_of(page))]
_SLOW = {"compare.md", "ray.md"}  # which start processes for each candidate, and a cluster
_NEEDS = {
    "openvino": "openvino",
    "ray": "ray",
    "schema": "structured",
    "structured_output": "structured",
}
_PROGRAMS = {"docker", "hf", "jupyter", "kubectl", "source"}
"""What pages run beside make, python and pip."""


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
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=_name(page), marks=pytest.mark.slow if page.name in _SLOW else ())
        for page in PAGES
    ],
)
def test_a_page_runs_and_shows_what_it_says(
    page: Path, reader: Reader, request: pytest.FixtureRequest
) -> None:
    blocks = blocks_of(page)
    code = "".join(each.code for each in blocks if each.language in _RUN)
    for word, need in _NEEDS.items():
        if re.search(rf"\b{word}\b", code):
            require(need)
    if "openvino" in code:  # which would be exported first
        export_into: Callable[[Path], None] = request.getfixturevalue("export_into")
        export_into(Path(os.environ["XDG_CACHE_HOME"]))
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
    """Yield the words of each of a block's commands, without the variables before it."""
    for line in block.code.splitlines():
        found = shlex.split(line, comments=True)
        while found and "=" in found[0]:
            found.pop(0)
        if found:
            yield found


def test_the_commands_of_pages_exist() -> None:
    blocks = [each for page in pages() for each in blocks_of(page) if each.language == "sh"]
    assert len(blocks) >= 8
    for block in blocks:
        for program, *rest in _commands(block):
            problem = _problem_with(Path(program).name, rest)
            assert problem is None, f"{block.place}: {problem}"


def _problem_with(program: str, words: list[str]) -> str | None:
    """Return what there is not of what a command names."""
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
        unknown = [each for each in words if "=" not in each and each not in targets]
        return f"make has no {unknown}" if unknown else None
    if program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = re.findall(r"(?:hfnb|\.)\[([\w,]+)\]", " ".join(words))
        named = {each for found in extras for each in found.split(",")}
        unknown = sorted(named - set(project["optional-dependencies"]))
        return f"no extra {unknown}" if unknown else None
    if program.startswith("python"):
        place = words[words.index("-m") + 1].split(".") if "-m" in words else []
        if place[:1] == ["venv"]:
            return None
        file = ROOT.joinpath(*place, "__main__.py") if place else ROOT / words[0]
        return None if file.is_file() else f"there is no {file}"
    return None if program in _PROGRAMS else f"{program} is none of {sorted(_PROGRAMS)}"


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
