"""The long description: README.md, with links and pictures that work away from the repository."""

from __future__ import annotations

import email
import re
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.working_tree import ROOT

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
VERSION = tomllib.loads(PYPROJECT)["project"]["version"]
[HOME] = set(re.findall(r"https://github\.com/[^/\s]+/[^/\s]+(?=/)", PYPROJECT))


@pytest.fixture(scope="module")
def description(built: Path) -> str:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode()
    about = email.message_from_string(text)
    assert about["Description-Content-Type"] == "text/markdown"
    return str(about.get_payload())


def test_its_words_are_those_of_the_readme(description: str) -> None:
    """What a build makes of an address may not touch the text, nor the code in it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    back = re.sub(rf"{HOME}/(raw|tree)/v{re.escape(VERSION)}/", "", description)
    assert back.strip() == readme.strip()


def test_every_link_and_picture_has_an_address_of_this_version(description: str) -> None:
    found = re.findall(r"\]\(([^)\s]+)\)|\b(?:src|srcset)=\"([^\"]+)\"", description)
    addresses = [link or picture for link, picture in found]
    assert all(re.match("https?:|#", each) for each in addresses)
    ours = [each for each in addresses if each.startswith(HOME)]
    assert len(ours) > 20
    for each in ours:
        kind, tag, path = each.removeprefix(f"{HOME}/").split("/", 2)
        assert tag == f"v{VERSION}"
        assert kind == ("raw" if path.endswith(".png") else "tree")
        assert (ROOT / path.partition("#")[0]).exists(), path
