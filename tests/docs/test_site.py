"""The documentation builds without a warning, needs no network, and leaves nothing public out."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import hfnb
from hfnb import errors
from hfnb.frame.store import RowStore
from hfnb.magics.arguments import OF_CELL, OF_LOAD
from hfnb.magics.line import COMMANDS
from hfnb.magics.magic import HfnbMagics
from hfnb.options import CALL_OPTIONS, LOAD_OPTIONS
from tests.docs.blocks import ROOT, pages

DRAWINGS = sorted((ROOT / "docs" / "drawings").glob("*.svg"))


class Page(HTMLParser):
    """What of a page the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        """The addresses that a browser fetches by itself."""
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.add(str(found["id"]))
        if tag == "img":
            self.pictures.append(found)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.loaded += [str(found[name]) for name in ("src", "srcset") if found.get(name)]
        if tag == "link" and found.get("rel") != "canonical":
            self.loaded.append(str(found.get("href")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def _pages(site: Path) -> dict[str, Page]:
    return {
        str(file.relative_to(site)): Page(file.read_text(encoding="utf-8"))
        for file in site.rglob("*.html")
    }


def test_nothing_is_fetched_from_another_server(site: Path) -> None:
    for name, page in _pages(site).items():
        assert [each for each in page.loaded if re.match(r"(https?:)?//", each)] == [], name
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert re.findall(r"(?:url\(|@import)[\"' ]*(?:https?:)?//", text) == [], sheet.name


def test_pictures_say_what_they_show(site: Path) -> None:
    shown = [each for page in _pages(site).values() for each in page.pictures]
    assert len(shown) >= 6
    assert all(len(each.get("alt") or "") > 20 for each in shown)


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_is_shown_and_describes_itself(drawing: Path) -> None:
    text = drawing.read_text(encoding="utf-8")
    named = re.search(r'role="img" aria-labelledby="([\w-]+) ([\w-]+)"', text)
    assert named is not None
    title = re.search(rf'<title id="{named[1]}">(.+?)</title>', text)
    about = re.search(rf'<desc id="{named[2]}">(.+?)</desc>', text)
    assert title is not None
    assert about is not None
    assert len(about[1]) > 100
    uses = [page for page in pages() if f"docs/drawings/{drawing.name}" in page.read_text("utf-8")]
    assert len(uses) == 1
    # Colours are the theme's, which change from light to dark.
    assert re.findall(r"(?:fill|stroke)=\"(?!none)|#[0-9a-fA-F]{3,6}\b", text) == []


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    ids = {
        found
        for name, page in _pages(site).items()
        if name.startswith("reference/")
        for found in page.ids
    }
    expected = {f"hfnb.{name}" for name in hfnb.__all__} - {
        "hfnb.JournalWarning",  # these are where they are defined, in the tree of errors
        "hfnb.SmallClusterWarning",
        "hfnb.TightMemoryWarning",
        "hfnb.HfnbError",
    }
    expected |= {f"hfnb.journal.{name}" for name in ("entries", "size", "prune", "clear")}
    expected |= {
        f"hfnb.errors.{name}"
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == "hfnb.errors"
    }
    expected |= {f"hfnb.RunStats.{name}" for name in hfnb.RunStats.__dataclass_fields__} - {
        f"hfnb.RunStats.{name}" for name in _WITHOUT_DOCSTRING
    }
    assert expected - ids == set()


_WITHOUT_DOCSTRING = (
    *("rows", "ok", "failed", "skipped", "cancelled"),
    *("model", "task", "engine", "backend", "device", "dtype", "batches"),
)
"""Figures whose names say it all; `reference/results.md` lists them."""


def test_every_column_and_figure_is_explained() -> None:
    text = (ROOT / "docs" / "reference" / "results.md").read_text(encoding="utf-8")
    import pandas as pd

    columns = list(RowStore(0).table(pd.RangeIndex(0)).columns)
    missing = [name for name in (*columns, *_WITHOUT_DOCSTRING) if f"`{name}`" not in text]
    assert missing == []


def test_every_option_is_in_the_reference(site: Path) -> None:
    def text(name: str) -> str:
        page = (site / "reference" / name / "index.html").read_text(encoding="utf-8")
        return re.sub(r"<[^>]+>", "", page)

    options, magics = text("options"), text("magics")
    assert [each for each in (*CALL_OPTIONS, *LOAD_OPTIONS) if each not in options] == []
    assert [each for each in (*OF_CELL, *OF_LOAD, *COMMANDS) if each not in magics] == []
    traits = HfnbMagics.class_own_traits(config=True)
    assert [each for each in traits if f"HfnbMagics.{each}" not in magics] == []


def test_every_environment_variable_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "hfnb").rglob("*.py"))
    read = set(re.findall(r"environ(?:\.get\(|\.setdefault\(|\[)[\"'](\w+)", code))
    read |= set(re.findall(r"\b(HF_HUB_\w+|HF_TOKEN|HF_ENDPOINT|XDG_\w+|MEM_LIMIT)\b", code))
    read -= {"PYTHONPATH"}  # which is Python's
    assert len(read) >= 3
    assert [name for name in read if f"`{name}`" not in text] == []
