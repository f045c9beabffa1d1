"""Fixtures for tests in a browser: `lab_server`, `browser` and, what a test wants, `lab`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.jupyter.browser import find_browser
from tests.needs import require

if TYPE_CHECKING:  # only browser tests pay for the import
    from playwright.sync_api import Browser

    from tests.jupyter.lab import Lab, LabServer

# A container's root may not use Chromium's sandbox, and its /dev/shm is too small for a page.
CHROMIUM_ARGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"]


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[LabServer]":
    """One JupyterLab server for the whole session."""
    require("browser")
    from tests.jupyter.lab import lab_server as run

    with run(tmp_path_factory.mktemp("jupyterlab")) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, for one module: while Playwright is open, `asyncio.run` fails in its thread."""
    require("browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_browser(), args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def lab(lab_server: "LabServer", browser: "Browser") -> "Iterator[Lab]":
    """A page of its own on the server; its kernels and settings end with the test."""
    from tests.jupyter.lab import Lab

    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(30_000)
    yield Lab(page, lab_server)
    context.close()
    lab_server.reset()
