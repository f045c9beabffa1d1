"""Drives the panel in a JupyterLab page as a person would: by the names of its controls."""

from playwright.sync_api import Locator, expect

from tests.jupyter.lab import Lab


class PanelPage:
    """The panel of the open notebook. Times are in seconds."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @property
    def root(self) -> Locator:
        """The panel itself."""
        return self.lab.notebook.locator(".hfnb-panel")

    def button(self, name: str) -> Locator:
        """Return a button by a part of its text."""
        return self.root.get_by_role("button").filter(has_text=name).first

    def press(self, name: str) -> None:
        """Press a button once it can be pressed."""
        button = self.button(name)
        expect(button).to_be_enabled(timeout=60_000)
        button.click()

    def wait_for(self, text: str, timeout: float = 60) -> None:
        """Wait until the panel shows a text."""
        self.root.get_by_text(text).first.wait_for(timeout=timeout * 1000)

    def load(self) -> None:
        """Load the chosen model."""
        self.press("Load")
        self.wait_for("Loaded:", timeout=120)

    def wait_for_end(self, timeout: float = 120) -> None:
        """Wait until no run is under way."""
        expect(self.button("Try 3 rows")).to_be_enabled(timeout=timeout * 1000)

    def rows(self) -> list[list[str]]:
        """Return the texts of the shown rows."""
        rows = self.root.locator(".hfnb-table tbody tr")
        return [each.locator("th, td").all_inner_texts() for each in rows.all()]
