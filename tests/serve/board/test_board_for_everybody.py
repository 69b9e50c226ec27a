"""The board by keys, by ear, by night and on a small screen."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from board_site import TIGHT, Open, shows
from playwright.sync_api import Page, expect

#: Contrast between text and what is behind it (WCAG 2.2, success criterion 1.4.3).
CONTRAST = 4.5


def test_keys_walk_the_tree_and_are_told_aloud(board: Page) -> None:
    board.locator("#map").focus()
    for key in ("Home", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        board.keyboard.press(key)
    expect(board.locator("#said")).to_contain_text("rack hall-a · row-1 · rack-2: ")
    expect(board.locator("#said")).to_contain_text("% of its limit")
    board.keyboard.press("Enter")
    shows(board, TIGHT)
    board.keyboard.press("ArrowUp")
    board.keyboard.press("Enter")
    shows(board, "site-1.hall-a.row-1")
    board.locator("#below button").first.focus()
    board.keyboard.press("Enter")
    shows(board, TIGHT)  # the tightest comes first
    assert board.evaluate("document.activeElement.id") == "entity"  # and what was pressed is gone


def test_the_first_tab_skips_the_map(board: Page) -> None:
    board.keyboard.press("Tab")
    assert board.evaluate("document.activeElement.className") == "skip"
    board.keyboard.press("Enter")
    assert board.evaluate("document.activeElement.id") == "entity"


#: Contrast of every text with what lies behind it, by the formula of WCAG 2.2, and where it is.
CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const over = (colour, below) => {
    canvas.fillStyle = `rgb(${below})`; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const behind = (it) => it ? over(getComputedStyle(it).backgroundColor, behind(it.parentElement)) : [255, 255, 255];
  const light = (rgb) => rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const found = [];
  for (const it of document.querySelectorAll("body *:not(option)")) {
    const own = [...it.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !it.checkVisibility() || it.closest(".unseen, .skip, dialog")) continue;
    const below = behind(it), style = getComputedStyle(it);
    const ink = over(it instanceof SVGElement ? style.fill : style.color, below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), `${it.tagName}.${it.getAttribute("class")} ${it.textContent.slice(0, 30)}`]);
  }
  return found;
}"""

INKS = """async () => {
  const { STEPS } = await import("/board/scale.js");
  const light = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  return STEPS.map(({ fill, ink }) => [light(fill), light(ink)]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_and_has_a_name(opened: Open, scheme: str) -> None:
    board = opened(f"forecast=day-ahead&entity={TIGHT}", color_scheme=scheme)
    shows(board, TIGHT)
    board.locator("#what-if").get_by_role("button", name="Ask").click()
    expect(board.locator("#what-if tbody tr")).to_have_count(4)
    contrasts = board.evaluate(CONTRASTS)
    assert len(contrasts) > 100
    assert [told for told in contrasts if told[0] < CONTRAST] == []
    for view in ("Map", "Table"):
        board.get_by_role("radio", name=view, exact=True).check()
        found = Axe().run(board).response
        assert len(found["passes"]) > 40
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []
    for fill, ink in board.evaluate(INKS):
        assert (max(fill, ink) + 0.05) / (min(fill, ink) + 0.05) >= CONTRAST
    assert board.locator("h1").count() == board.locator("main").count() == 1
    assert board.evaluate("document.documentElement.lang") == "en-GB"
    assert board.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_it_fits_a_telephone(opened: Open) -> None:
    board = opened()
    board.set_viewport_size({"width": 390, "height": 800})
    shows(board, "site-1")
    assert board.evaluate("document.documentElement.scrollWidth <= innerWidth")
