"""A server with two fleets, and a real browser that has its board open."""

import shutil
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from board_site import LARGE, SITE, Open, shows, telemetry
from fleets import NOW, publish, write_bundle
from playwright.sync_api import Browser, Page, sync_playwright
from running import Hands, Running, running

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A small site, and one of more than ten thousand entities."""
    folder = tmp_path_factory.mktemp("board")
    for name, topology in (("day-ahead", SITE), ("large", LARGE)):
        publish(folder / "registry", write_bundle(folder / name, "made", topology), "k1", name)
    with running(folder / "registry", clock=Hands()) as server:
        server.push(pl.concat([telemetry(SITE, NOW, 96), telemetry(LARGE, NOW, 3)]).unique(["entity_id", "time"]))
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module, not of all: while it lives its thread has an event loop, and no test may run another there."""
    if CHROMIUM is None:
        pytest.skip("no Chromium; Debian has it as chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def opened(server: Running, browser: Browser) -> Iterator[Open]:
    """Opens the board; at the end nothing was asked of anybody else, and the console has nothing to complain of."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    context.on("request", lambda asked: None if server.address in asked.url else wrong.append(asked.url))
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("console", lambda line: wrong.append(line.text) if line.type in {"error", "warning"} else None)

    def opened(fragment: str = "forecast=day-ahead", *, by_hand: bool = True, **media: Any) -> Page:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.emulate_media(**media)
        if by_hand:
            page.clock.install()
        page.goto(f"http://{server.address}/#{fragment}")
        return page

    yield opened
    context.close()
    assert [line for line in wrong if "Failed to load resource" not in line] == []


@pytest.fixture
def board(opened: Open) -> Page:
    page = opened()
    shows(page, "site-1")
    return page
