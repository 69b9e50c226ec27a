"""Draws docs/board/*.png: `python docs/board_pictures.py [REGISTRY TELEMETRY]`, in a checkout after `make demo`.

The board of the demo fleet in a headless Chromium: by day, by night, and an hour and a half after telemetry ended.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

OUT = Path(__file__).with_name("board")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
RACK = "site-1.hall-a.row-3.rack-02"


def main(registry: str = "var/registry", telemetry: str = "var/fleet/telemetry") -> None:
    """Serve the newest step of the record, look at it, and once more when nothing was heard for a while."""
    OUT.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        with served(registry, telemetry, "newest") as address:
            light = opened(browser, address, f"entity={RACK}", "light", 1280, 800)
            ends = light.locator("#clock").get_attribute("datetime")
            light.screenshot(path=OUT / "light.png")
            light.get_by_label("Added, kW").fill("10")
            light.get_by_role("button", name="Ask").click()
            light.locator("#what-if tbody tr").first.wait_for()
            light.locator("#what-if").screenshot(path=OUT / "what_if.png")
            dark = opened(browser, address, f"entity={RACK}&target=temperature_c&mode=at&step=96", "dark", 1920, 1080)
            dark.screenshot(path=OUT / "dark.png")
        assert ends is not None  # noqa: S101 - the board shows what time it is
        later = datetime.fromisoformat(ends) + timedelta(minutes=90)
        with served(registry, telemetry, later.isoformat()) as address:
            opened(browser, address, f"entity={RACK}", "dark", 1280, 800).screenshot(path=OUT / "fallback.png")
        browser.close()


@contextmanager
def served(registry: str, telemetry: str, as_of: str) -> Iterator[str]:
    """The address of a server that plays the record from a time on."""
    command = [sys.executable, "-m", "serve", "run", "--registry", registry, "--telemetry", telemetry]
    server = subprocess.Popen([*command, "--as-of", as_of, "--port", "0"], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None  # noqa: S101 - as it was opened
    try:
        yield next(told["address"] for told in map(json.loads, server.stderr) if told["event"] == "listening")
    finally:
        server.terminate()
        server.communicate(timeout=60)


def opened(browser: Browser, address: str, fragment: str, scheme: str, width: int, height: int) -> Page:
    """The board when everything is there."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB")  # type: ignore[arg-type]
    page.goto(f"{address}/#{fragment}")
    page.locator("#fans svg").first.wait_for(timeout=120_000)
    return page


if __name__ == "__main__":
    main(*sys.argv[1:])
