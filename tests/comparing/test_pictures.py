"""The pictures of a comparison: what they say in words, and that they can be read anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib import image

from hfnb.comparing.candidates import Candidate
from hfnb.comparing.comparison import Comparison, Given
from hfnb.comparing.process import Failed
from hfnb.errors import OptionError
from tests.comparing.support import measured


@pytest.fixture(scope="module")
def found() -> Comparison:
    frame = pd.DataFrame({"x": ["1", "2"], "right": ["a", "b"]})
    outcomes = {
        "plain": measured(["a", "b"], 10.0),
        "<small>": measured(["a", "c"], 25.0),
        "broken": Failed("no memory"),
    }
    given = Given(frame, frame, ("x",), {"": "right"}, {"prompt": "{x}"})
    return Comparison(given, [Candidate(name, "{x}") for name in outcomes], [outcomes])


@pytest.mark.parametrize("what", ["overview", "latency", "memory"])
def test_a_picture_says_in_words_what_it_shows_and_takes_the_texts_colour(
    what: Any, found: Comparison
) -> None:
    picture = found.plot(what)
    svg = picture.svg()
    root = ElementTree.fromstring(svg)
    names = {each.tag.rpartition("}")[2]: each.text for each in root}
    assert names["desc"] == picture.alt == repr(picture)
    assert names["title"] == picture.title
    assert root.get("role") == "img"
    assert "currentColor" in svg
    assert not re.search(r"#0{6}|#010203|fill: ?black", svg)
    assert "<small>" not in picture._repr_html_()
    for label in ("plain", "<small>"):
        assert label in picture.alt
    assert "broken" not in picture.alt


def test_the_overview_tells_speed_quality_and_memory(found: Comparison) -> None:
    alt = found.plot().alt
    assert "plain: 10.0 rows a second, exact match with the reference 100%, 500 MB" in alt
    assert "<small>: 25.0 rows a second, exact match with the reference 50%" in alt


def test_names_are_beside_the_marks_not_upon_each_other(found: Comparison) -> None:
    figure = found.plot().figure
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert [each.get_text() for each in legend.get_texts()] == [
        "plain\n500 MB",
        "<small>\n500 MB",
    ]
    assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
    assert not axes.texts


def test_a_picture_is_saved_as_svg_or_png_with_its_words(found: Comparison, tmp_path: Path) -> None:
    picture = found.plot("memory")
    assert "<desc>" in picture.save(tmp_path / "a.svg").read_text()
    file = picture.save(tmp_path / "a.png")
    assert picture.alt.encode() in file.read_bytes()
    assert (image.imread(file)[0, 0, :3] == 1).all()  # on white, for print
    with pytest.raises(OptionError, match=r"\.svg or \.png"):
        picture.save(tmp_path / "a.pdf")


def test_what_can_not_be_shown_is_said(found: Comparison) -> None:
    with pytest.raises(OptionError, match="Did you mean 'latency'"):
        found.plot("latencies")  # type: ignore[arg-type]
    nothing = Comparison(found._given, [Candidate("x", "{x}")], [{}])
    with pytest.raises(OptionError, match="no candidate was measured"):
        nothing.plot()
    assert "cancelled" in repr(nothing)


def test_a_comparison_is_saved_by_the_files_ending(found: Comparison, tmp_path: Path) -> None:
    assert found.save(tmp_path / "a.md").read_text() == found.to_markdown()
    assert found.save(tmp_path / "a.json").read_text() == found.to_json()
    assert "&lt;small&gt;" in found.save(tmp_path / "a.html").read_text()
    assert "<small>" not in found._repr_html_().replace("<small>2 rows", "").replace(
        "<small>broken", ""
    )
    with pytest.raises(OptionError, match=r"\.md, \.html, \.json"):
        found.save(tmp_path / "a.txt")
