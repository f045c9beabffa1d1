"""A release, for real, in a repository of its own: what is refused, changed and made."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests import working_tree

VERSION = "7.8.9"


def _git(clone: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "commit.gpgsign=false", *arguments],
        cwd=clone,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone = tmp_path_factory.mktemp("release")
    working_tree.copy(clone)
    _git(clone, "init", "--quiet", "--initial-branch=main")
    _git(clone, "config", "user.name", "Somebody")
    _git(clone, "config", "user.email", "somebody@example.org")
    _git(clone, "add", "--all")
    _git(clone, "commit", "--quiet", "--message", "All of it")
    return clone


@pytest.fixture
def clone(made: Path) -> Path:
    """A repository that is main and clean."""
    for tag in _git(made, "tag").split():
        _git(made, "tag", "--delete", tag)
    _git(made, "checkout", "--quiet", "main")
    _git(made, "reset", "--quiet", "--hard", _git(made, "rev-list", "--max-parents=0", "HEAD"))
    _git(made, "clean", "--quiet", "-dfx")
    return made


def _release(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/release.py", *arguments],
        cwd=clone,
        capture_output=True,
        text=True,
        check=False,
    )


def _edit(clone: Path, name: str, old: str, new: str) -> None:
    file = clone / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.slow
def test_a_release_changes_the_version_and_the_changelog_builds_commits_and_tags(
    clone: Path,
) -> None:
    before = (clone / "CHANGELOG.md").read_text(encoding="utf-8")
    done = _release(clone, VERSION, "--ci-passed")
    assert done.returncode == 0, done.stdout + done.stderr

    log = _git(clone, "log", "--format=%s").splitlines()
    assert log[:2] == ["Begin 7.8.10", f"Release {VERSION}"]
    assert _git(clone, "status", "--porcelain") == ""
    assert _git(clone, "cat-file", "-t", f"v{VERSION}") == "tag"
    assert _git(clone, "rev-parse", f"v{VERSION}^{{commit}}") == _git(clone, "rev-parse", "HEAD~1")
    assert _git(clone, "diff", "--name-only", "HEAD~2", "HEAD~1").split() == [
        "CHANGELOG.md",
        "pyproject.toml",
    ]
    released = tomllib.loads(_git(clone, "show", f"v{VERSION}:pyproject.toml"))
    assert released["project"]["version"] == VERSION
    now = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))
    assert now["project"]["version"] == "7.8.10.dev0"

    changelog = (clone / "CHANGELOG.md").read_text(encoding="utf-8")
    head, _, rest = changelog.partition("## Unreleased\n\n")
    title, _, lines = rest.partition("\n")
    assert title.startswith(f"## {VERSION} - 2")
    assert head + "## Unreleased\n" + lines == before

    wheel = clone / "dist" / f"hfnb-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"hfnb-{VERSION}.dist-info/METADATA").decode()
    assert f"\nVersion: {VERSION}\n" in metadata
    assert f"twine upload dist/{wheel.name} dist/hfnb-{VERSION}.tar.gz" in done.stdout
    # The page of this version shows the picture that lay under its tag, not under a later one.
    assert f"/raw/v{VERSION}/docs/images/" in metadata
    assert ("Not yet: pyproject.toml has OWNER/REPO" in done.stdout) == ("OWNER/REPO" in metadata)


@pytest.mark.slow
def test_a_dry_run_builds_and_leaves_the_repository_as_it_was(clone: Path) -> None:
    head = _git(clone, "rev-parse", "HEAD")
    done = _release(clone, VERSION, "--ci-passed", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'+version = "{VERSION}"' in done.stdout
    assert _git(clone, "rev-parse", "HEAD") == head
    assert _git(clone, "status", "--porcelain") == ""
    assert _git(clone, "tag") == ""
    assert (clone / "dist" / f"hfnb-{VERSION}.tar.gz").exists()


def test_a_build_that_fails_takes_the_version_back(clone: Path) -> None:
    _edit(clone, "pyproject.toml", 'path = "README.md"', 'path = "READYOU.md"')
    _git(clone, "commit", "--all", "--quiet", "--message", "A mistake")
    done = _release(clone, VERSION, "--ci-passed")
    assert done.returncode == 1
    assert "release: " in done.stderr
    assert "Traceback" not in done.stderr.splitlines()[-1]
    assert _git(clone, "status", "--porcelain") == ""
    assert _git(clone, "tag") == ""


def test_ci_that_fails_ends_a_release_before_it_begins(clone: Path) -> None:
    (clone / ".ci" / "run").write_text("#!/bin/sh\necho CI was here\nexit 3\n")
    _git(clone, "commit", "--all", "--quiet", "--message", "CI that fails")
    done = _release(clone, VERSION)
    assert done.returncode == 1
    assert "CI was here" in done.stdout
    assert ".ci/run ended with 3" in done.stderr
    assert _git(clone, "status", "--porcelain") == ""


@pytest.mark.parametrize("version", ["1.2.x", "v1.2.3", "1.2.3.dev0", "1.2.3+local", "01.2.3"])
def test_what_is_no_version_is_refused(clone: Path, version: str) -> None:
    done = _release(clone, version, "--ci-passed")
    assert done.returncode == 1
    assert "write it as 1.2.3" in done.stderr


def test_a_clone_that_is_not_fit_is_refused_in_one_line(clone: Path) -> None:
    def refused() -> str:
        done = _release(clone, VERSION, "--ci-passed")
        assert done.returncode == 1
        assert done.stderr.startswith("release: ")
        return done.stderr

    assert "comes before" in _release(clone, "0.0.1", "--ci-passed").stderr

    (clone / "stray.py").touch()
    assert "not committed" in refused()
    (clone / "stray.py").unlink()

    _git(clone, "checkout", "--quiet", "-B", "feature")
    assert "this is feature" in refused()
    _git(clone, "checkout", "--quiet", "main")

    _git(clone, "tag", f"v{VERSION}")
    assert "released already" in refused()
    _git(clone, "tag", "--delete", f"v{VERSION}")

    file = clone / "CHANGELOG.md"
    file.write_text("# Changelog\n\n## Unreleased\n\n## 0.0.1\n\n- All of it.\n")
    _git(clone, "commit", "--all", "--quiet", "--message", "Nothing new")
    assert "nothing under Unreleased" in refused()
