"""Find the Chromium that the browser tests drive.

`scripts/install_browser.sh` looks in the same places.
"""

import os
import shutil
from functools import cache
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


@cache
def find_browser() -> Path | None:
    """Return the browser's executable, or None where there is none.

    The first of: `$HFNB_BROWSER`, a name on PATH, Chrome on macOS, Playwright's own download.
    """
    if named := os.environ.get("HFNB_BROWSER"):
        return Path(named)
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    return next((path for path in (MAC, _playwrights_own()) if path and path.exists()), None)


def _playwrights_own() -> Path | None:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path)
