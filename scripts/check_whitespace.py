"""Mend trailing white space and missing or superfluous newlines at the end of the files named."""

import re
import sys
from pathlib import Path


def mended(text: str) -> str:
    """Return the text without white space at line ends, and with one newline at its end."""
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return text.rstrip("\n") + "\n" if text.strip() else ""


def main(names: list[str]) -> int:
    """Mend the files; return 1 if any had to be, so that the commit stops to be looked at."""
    changed = 0
    for path in map(Path, names):
        raw = path.read_bytes()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if mended(text) != text:
            path.write_bytes(mended(text).encode("utf-8"))
            print(f"mended {path}")
            changed = 1
    return changed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
