"""A test may skip what a developer's machine lacks; in CI nothing that it needs may lack."""

import pytest

from tests import needs


@pytest.fixture(autouse=True)
def _missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(needs.MODULES, "missing", ("json", "no_such_module.inside"))


def test_what_is_missing_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs missing: the module no_such_module"):
        needs.require("missing")


def test_what_is_missing_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="may not be skipped"):
        needs.require("missing")


def test_no_browser_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(needs, "find_browser", lambda: None)
    with pytest.raises(pytest.fail.Exception, match=r"scripts/install_browser\.sh"):
        needs.require("browser")


def test_what_is_there_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(needs.MODULES, "there", ("json", "email.mime.text"))
    needs.require("there")
