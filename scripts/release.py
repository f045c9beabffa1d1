"""Release a version: make release VERSION=1.2.3, or python scripts/release.py 1.2.3.

It checks that the tree is clean and what is released is main, runs CI, gives the version to
pyproject.toml and the changelog's unreleased lines to the version, builds and checks the wheel and
the sdist, commits and tags, and begins the next version. What fails leaves the tree as it was.
Nothing is pushed or uploaded: the last lines say how.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parent.parent
BRANCH = "main"
_VERSION = re.compile(r'^version = "(.*)"$', re.MULTILINE)
_UNRELEASED = "## Unreleased\n"
_NOWHERE = "OWNER/REPO"
"""What stands where the repository's address will be, until it has one."""


class RefusedError(Exception):
    """Why this can't be released as it is."""


def git(*arguments: str) -> str:
    """Return what git prints, without the newline at its end."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def check(wanted: str) -> Version:
    """Return the version to release, where it and the clone are fit for it."""
    try:
        version = Version(wanted)
    except InvalidVersion:
        raise RefusedError(f"{wanted!r} is no version: write it as 1.2.3, or 1.2.3rc1") from None
    if str(version) != wanted or version.is_devrelease or version.local:
        raise RefusedError(f"{wanted!r} is no version to release: write it as 1.2.3, or 1.2.3rc1")
    if changed := git("status", "--porcelain"):
        raise RefusedError(f"there are changes that are not committed:\n{changed}")
    if (branch := git("branch", "--show-current")) != BRANCH:
        raise RefusedError(f"this is {branch or 'no branch'}, and releases are made on {BRANCH}")
    if git("tag", "--list", f"v{version}"):
        raise RefusedError(f"v{version} is released already: its tag is here")
    if (now := current_version()) > version:
        raise RefusedError(f"{version} comes before {now}, which pyproject.toml has")
    changelog((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version, today())
    return version


def current_version() -> Version:
    """Return the version that pyproject.toml has: the one place where it stands."""
    match = _VERSION.search((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if match is None:
        raise RefusedError("pyproject.toml has no line `version = ...`")
    return Version(match[1])


def changelog(text: str, version: Version, date: datetime.date) -> str:
    """Return the changelog with its unreleased lines under the version and the date."""
    before, found, after = text.partition(_UNRELEASED)
    if not found:
        raise RefusedError(f"CHANGELOG.md has no line {_UNRELEASED.strip()!r}")
    if not re.search(r"^- ", after.partition("\n## ")[0], re.MULTILINE):
        raise RefusedError("CHANGELOG.md has nothing under Unreleased: what do users get?")
    return f"{before}{_UNRELEASED}\n## {version} - {date:%Y-%m-%d}\n{after}"


def today() -> datetime.date:
    """Return the date in UTC."""
    return datetime.datetime.now(datetime.UTC).date()


def write_version(version: Version) -> None:
    """Put a version into pyproject.toml."""
    file = ROOT / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(_VERSION.sub(f'version = "{version}"', text, count=1), encoding="utf-8")


def build(version: Version) -> list[str]:
    """Build and check what is uploaded; return the files' names."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist))
    files = sorted(str(each.relative_to(ROOT)) for each in dist.iterdir())
    wanted = [f"dist/hfnb-{version}-py3-none-any.whl", f"dist/hfnb-{version}.tar.gz"]
    if files != wanted:
        raise RefusedError(f"the build made {files}, and not {wanted}")
    run(sys.executable, "-m", "twine", "check", "--strict", *files)
    run(sys.executable, "-m", "check_wheel_contents", files[0])
    return files


def run(*command: str) -> None:
    """Run a step, and show what it prints."""
    print("$", *command, flush=True)
    try:
        subprocess.run(command, cwd=ROOT, check=True)
    except subprocess.CalledProcessError as error:
        raise RefusedError(f"{' '.join(command)} ended with {error.returncode}") from None


@contextlib.contextmanager
def restored(always: bool) -> Iterator[None]:
    """Take changed files back if the block fails, or always."""
    try:
        yield
    except BaseException:
        always = True
        raise
    finally:
        if always:
            git("checkout", "HEAD", "--", "pyproject.toml", "CHANGELOG.md")


def release(wanted: str, *, dry_run: bool, ci_passed: bool) -> None:
    """Take all steps; a dry run takes them back before the first commit."""
    version = check(wanted)
    if not ci_passed:
        run(".ci/run")
    with restored(always=dry_run):
        write_version(version)
        file = ROOT / "CHANGELOG.md"
        text = changelog(file.read_text(encoding="utf-8"), version, today())
        file.write_text(text, encoding="utf-8")
        files = build(version)
        if dry_run:
            print(git("diff"))
            print(f"\nA dry run: this would be committed and tagged v{version} now.")
            return
        git("commit", "--all", "--message", f"Release {version}")
        git("tag", "--annotate", f"v{version}", "--message", f"hfnb {version}")
    following = Version(f"{version.major}.{version.minor}.{version.micro + 1}.dev0")
    with restored(always=False):
        write_version(following)
        git("commit", "--all", "--message", f"Begin {following.base_version}")
    print(f"\n{version} is committed, tagged and built. Two steps are left, and can't be undone:\n")
    print(f"  git push origin {BRANCH} v{version}")
    print(f"  {sys.executable} -m twine upload {' '.join(files)}    # asks for your token")
    if _NOWHERE in (ROOT / "pyproject.toml").read_text(encoding="utf-8"):
        print(f"\nNot yet: pyproject.toml has {_NOWHERE}, and the page's links would lead nowhere.")


def main() -> None:
    """Read the command line; say in a line why something is refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("version", help="such as 1.2.3")
    parser.add_argument("--dry-run", action="store_true", help="all but the commits and the tag")
    parser.add_argument("--ci-passed", action="store_true", help="CI has passed on this commit")
    arguments = parser.parse_args()
    try:
        release(arguments.version, dry_run=arguments.dry_run, ci_passed=arguments.ci_passed)
    except RefusedError as refused:
        raise SystemExit(f"release: {refused}") from None


if __name__ == "__main__":
    main()
