#!/usr/bin/env bash
# Makes sure that the browser tests find a Chromium, and a font to draw text with. Says what it found or did.
#   scripts/install_browser.sh [PYTHON]     PYTHON has playwright installed; python3 unless told
# In order: $HFNB_BROWSER, a browser on PATH, Debian's package (root only), Playwright's own download.
# tests/jupyter/browser.py looks in the same places.
set -euo pipefail

python=${1:-python3}

say() { echo "install_browser: $*" >&2; }

is_root_with_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_browser() {
    if [ -n "${HFNB_BROWSER:-}" ]; then
        [ -x "$HFNB_BROWSER" ] || { say "HFNB_BROWSER=$HFNB_BROWSER is no executable file"; exit 1; }
        echo "$HFNB_BROWSER"
        return
    fi
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" && return
    done
    local mac="/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    [ -x "$mac" ] && { echo "$mac"; return; }
    find_playwrights_own
}

find_playwrights_own() {
    "$python" - <<'PY'
import os
import sys

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sys.exit(1)
with sync_playwright() as playwright:
    path = playwright.chromium.executable_path
if not os.path.exists(path):
    sys.exit(1)
print(path)
PY
}

has_fonts() {
    # Only Linux can be without any: there Chromium draws no letter at all, and screenshots are blank.
    [ "$(uname)" != Linux ] || [ -n "$(find /usr/share/fonts /usr/local/share/fonts "$HOME/.fonts" \
        "$HOME/.local/share/fonts" \( -name '*.ttf' -o -name '*.otf' -o -name '*.ttc' \) -print -quit 2>/dev/null)" ]
}

if ! has_fonts; then
    if is_root_with_apt; then
        say "no fonts on this machine: installing fonts-dejavu-core with apt-get"
        apt_install fonts-dejavu-core
    else
        say "warning: no fonts on this machine, screenshots will have no text (Debian: apt-get install fonts-dejavu-core)"
    fi
fi

if browser=$(find_browser); then
    say "using $browser"
    exit 0
fi

if is_root_with_apt; then
    say "no Chromium or Chrome found: installing Debian's chromium with apt-get"
    if apt_install chromium && browser=$(find_browser); then
        say "using $browser"
        exit 0
    fi
    say "apt-get could not install chromium; trying Playwright's own"
fi

say "no Chromium or Chrome found: running playwright install chromium"
if "$python" -m playwright install chromium && browser=$(find_browser); then
    say "using $browser"
    exit 0
fi
say "no browser to be had. Install Chromium or Chrome, or name one: HFNB_BROWSER=/path/to/chrome"
exit 1
