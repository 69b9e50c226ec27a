"""The board in a real browser: what an operator sees is what /v1 says."""

import http.client
import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from board_site import HOSTILE, LARGE, SITE, TIGHT, Open, answer, kw, plain, room, shows, telemetry
from fleets import NOW
from playwright.sync_api import Page, expect
from running import Hands, Running

from serve.__main__ import main
from serve.http.keys import Keys

#: The colour in the middle of what stands for each rack, and the one that its share of the limit ought to have.
COLOURS = """async () => {
  const [{ Fleet }, { layOut }, { STEPS, steps }] = await Promise.all(
    ["fleet", "layout", "scale"].map((name) => import(`/board/${name}.js`)));
  const told = await (await fetch("/v1/forecasts/day-ahead/map")).json();
  const fleet = new Fleet(told), box = document.getElementById("map-view");
  const spots = layOut(fleet, box.clientWidth, box.clientHeight);
  const canvas = document.getElementById("map-cells");
  const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const middle = (begin, length) => Math.floor(begin + length / 2);
  const pixel = (at) => 4 * (middle(spots.y[at], spots.h[at]) * width + middle(spots.x[at], spots.w[at]));
  const { share } = told.targets.power_w;
  return fleet.order[fleet.levels.indexOf("server")].map((at) => ({
    id: fleet.ids[at], share: share[at],
    drawn: [...data.subarray(pixel(at), pixel(at) + 4)],
    meant: STEPS[steps("power_w", [share[at]])[0]].fill,
  }));
}"""


def test_the_map_has_the_colours_of_what_is_left(board: Page) -> None:
    cells = board.evaluate(COLOURS)
    assert len(cells) == 48
    free = [cell for cell in cells if cell["share"] > 0.1]  # nothing is hatched there
    assert len({cell["meant"] for cell in free}) > 2
    for cell in free:
        assert cell["drawn"] == [*bytes.fromhex(cell["meant"][1:]), 255], cell
    lightness = [sum(bytes.fromhex(cell["meant"][1:])) for cell in sorted(free, key=lambda cell: cell["share"])]
    assert lightness == sorted(lightness, reverse=True)


def test_nothing_lies_on_anything_else(board: Page) -> None:
    """Racks of any fleet, in any window: apart, inside, and as large as there is room."""
    apart = """async ([halls, rows, racks, servers, width, height]) => {
      const [{ Fleet }, { layOut }] = await Promise.all(["fleet", "layout"].map((name) => import(`/board/${name}.js`)));
      const columns = { entity_id: [], parent: [], level: [], levels: ["server", "rack", "row", "hall", "site"] };
      const add = (parent, level) => {
        columns.parent.push(parent);
        columns.level.push(level);
        return columns.entity_id.push(`entity-${columns.level.length}`) - 1;
      };
      const site = add(-1, 4);
      for (let a = 0; a < halls; a++) for (let hall = add(site, 3), b = 0; b < rows; b++)
        for (let row = add(hall, 2), c = 0; c < racks; c++)
          for (let rack = add(row, 1), d = 0; d < servers; d++) add(rack, 0);
      const fleet = new Fleet(columns), spots = layOut(fleet, width, height);
      const boxes = fleet.order[1].map((at) => [...spots.outer.subarray(4 * at, 4 * at + 4)]);
      return [boxes, spots.height, fleet.order[0].every((at) => spots.w[at] > 0 && spots.h[at] > 0)];
    }"""
    for shape in ((1, 1, 1, 0, 300, 200), (2, 3, 4, 4, 740, 430), (3, 9, 20, 16, 1100, 700), (1, 40, 2, 1, 740, 430)):
        boxes, height, seen = board.evaluate(apart, list(shape))
        (*_, width, most) = shape
        assert len(boxes) == shape[0] * shape[1] * shape[2]
        assert seen
        assert height <= most + 1 or min(box[2] for box in boxes) < 9
        x, y, w, h = np.array(boxes).T
        assert (x >= 0).all()
        assert (x + w <= width).all()
        crossing = (x[:, None] < x + w) & (x < (x + w)[:, None]) & (y[:, None] < y + h) & (y < (y + h)[:, None])
        assert crossing.sum() == len(boxes)


def test_a_click_selects_and_the_fan_tells_what_v1_does(board: Page, server: Running) -> None:
    board.locator("#tightest").get_by_role("button", name="hall-a · row-1 · rack-2").click()
    shows(board, TIGHT)
    assert "rack-2" in board.locator("#entity-title").inner_text()
    assert [link.inner_text() for link in board.locator("#crumbs button").all()] == ["site-1", "hall-a", "row-1"]
    assert kw(room(server, TIGHT)) in plain(board.locator("#entity-facts").inner_text())
    rows = answer(server, f"?entity={TIGHT}&target=power_w&quantile=0.5")["rows"]
    label = plain(board.locator("svg.fan").first.get_attribute("aria-label"))
    assert kw(max(row["power_w_p50"] for row in rows)) in label
    assert "limit 3.3 kW" in label
    assert board.locator("svg.fan").first.locator("path.band").count() == 2  # 5 to 95, and 10 to 90 %
    seen = board.locator("svg.fan .observed").first.get_attribute("d") or ""
    assert seen.count("L") > 4


def test_a_click_on_the_map_selects_what_lies_there(board: Page) -> None:
    place = board.evaluate(
        COLOURS.replace(
            "return fleet",
            "const at = fleet.place.get('site-1.hall-b.row-1.rack-3'); "
            "return [spots.x[at] + 5, spots.y[at] + 5]; return fleet",
        )
    )
    board.locator("#map").hover(position={"x": place[0], "y": place[1]})
    expect(board.locator("#tip")).to_contain_text("rack hall-b · row-1 · rack-3")
    board.locator("#map").click(position={"x": place[0], "y": place[1]})
    shows(board, "site-1.hall-b.row-1.rack-3")


def test_the_slider_moves_through_the_horizon(board: Page, server: Running) -> None:
    def tightest() -> str:
        return plain(board.locator("#tightest tbody tr").first.inner_text())

    assert kw(room(server, TIGHT)) in tightest()
    board.locator("#horizon").focus()
    with board.expect_response(lambda reply: "/map?" in reply.url and "until=PT900S" in reply.url):
        board.keyboard.press("Home")
        board.clock.fast_forward(200)
    first = kw(room(server, TIGHT, until="PT900S"))
    expect(board.locator("#tightest tbody tr").first).to_contain_text(first.replace(" ", "\u00a0"))
    assert board.locator("#horizon").get_attribute("aria-valuetext") == "Wed 4 Mar 01:15 UTC, 15 min ahead"
    board.get_by_role("radio", name="At", exact=True).check()
    for _ in range(3):
        board.locator("#horizon").press("ArrowRight")
    board.clock.fast_forward(200)
    expect(board.locator("#horizon-told")).to_have_text("Wed 4 Mar 01:45 UTC, 45 min ahead")
    fourth = kw(room(server, TIGHT, **{"from": "PT2700S", "until": "PT3600S"}))
    assert fourth != first
    expect(board.locator("#tightest tbody tr").first).to_contain_text(fourth.replace(" ", "\u00a0"))
    board.reload()
    expect(board.locator("#horizon-told")).to_have_text("Wed 4 Mar 01:45 UTC, 45 min ahead")


def test_target_and_confidence_change_what_is_shown(board: Page, server: Running) -> None:
    board.get_by_role("radio", name="Temperature, °C").check()
    board.locator("#confidence").select_option("0.95")
    board.clock.fast_forward(200)
    row = answer(server, "/tightest?level=rack&n=1&target=temperature_c&confidence=0.95")["rows"][0]
    expect(board.locator("#tightest tbody tr").first).to_contain_text(
        f"{row['headroom']:.1f}\u00a0°C".replace("-", "−")
    )
    expect(board.locator("#legend")).to_contain_text("95\u00a0%, room below the limit".replace("\u00a0", " "))


def test_what_if_tells_before_and_after_for_all_above(opened: Open, server: Running) -> None:
    board = opened(f"forecast=day-ahead&entity={TIGHT}")
    shows(board, TIGHT)
    before = room(server, TIGHT)
    box = board.locator("#what-if")
    box.get_by_label("Added, kW").fill("0.1")
    box.get_by_role("button", name="Ask").click()
    rows = box.locator("tbody tr")
    expect(rows).to_have_count(4)
    cells = [plain(text) for text in rows.first.locator("td").all_inner_texts()]
    assert cells[0] == kw(before)
    assert float(cells[1].split()[0]) == pytest.approx((before - 100) / 1000, abs=0.006)
    assert cells[3] == "–"  # this bundle takes no plans, and says nothing of heat
    assert "fits" in box.locator("p").first.inner_text()
    box.get_by_label("Added, kW").fill("30")
    box.get_by_label("Added, kW").press("Enter")
    expect(box.locator(".refused")).to_contain_text(f"It does not fit: {TIGHT}")
    box.get_by_label("Entity").fill("site-1.hall-a.row-1.rak-2")
    box.get_by_role("button", name="Ask").click()
    expect(box.locator(".refused")).to_contain_text(f"nearest name is {TIGHT}")


def test_the_same_numbers_are_in_a_table(board: Page, server: Running) -> None:
    board.get_by_role("radio", name="Table", exact=True).check()
    rows = board.locator("#table-view tbody tr")
    expect(rows).to_have_count(13)
    assert rows.first.get_attribute("data-entity") == TIGHT
    assert kw(room(server, TIGHT)) in plain(rows.first.inner_text())
    board.locator("#tightest-level").select_option("hall")
    expect(rows).to_have_count(2)
    assert not board.locator("#map").is_visible()


def test_a_name_is_never_more_than_text(opened: Open) -> None:
    board = opened("forecast=day-ahead&level=rack&view=table")
    board.locator("#table-view tr", has_text="<img").get_by_role("button").click()
    shows(board, HOSTILE)
    assert board.locator("#entity-title").inner_text() == HOSTILE.removeprefix("site-1.hall-b.row-2.")
    assert board.locator("img").count() == 0


def test_old_data_and_fallbacks_cannot_be_overlooked(board: Page, server: Running) -> None:
    expect(board.locator("#banner")).to_be_empty()
    clock = server.engine.clock
    assert isinstance(clock, Hands)
    try:
        clock.now = NOW + timedelta(hours=1)
        server.push(telemetry(SITE, NOW, 1))
        board.clock.fast_forward(6_000)
        banner = board.get_by_role("alert")
        expect(banner).to_contain_text("Telemetry is 60 min old.")
        expect(banner).to_contain_text(f"usual at this hour for {len(SITE.entities)} of {len(SITE.entities)} entities")
        expect(banner).to_contain_text("No interval is narrower than the model's last.")  # `test_ladder.py` holds it
        expect(board.locator("#sources")).to_have_class("loud")
        assert board.title().startswith("⚠")
        expect(board.locator("#entity-kind .loud")).to_have_text("usual at this hour")
    finally:
        clock.now = NOW
        server.push(telemetry(SITE, NOW, 1))
    board.clock.fast_forward(6_000)
    expect(board.locator("#banner")).to_be_empty()
    expect(board.locator("#sources")).to_have_text("model")


def test_it_goes_stale_in_sight_when_the_server_is_gone(board: Page) -> None:
    board.context.set_offline(True)
    board.clock.fast_forward(6_000)
    expect(board.get_by_role("alert")).to_contain_text("No answer from the server")
    assert "grayscale" in board.locator("#map-cells").evaluate("it => getComputedStyle(it).filter")
    for _ in range(12):
        board.clock.fast_forward(5_000)
    expect(board.get_by_role("alert")).to_contain_text(re.compile(r"for \d0 s|for 1 min"))
    board.context.set_offline(False)
    board.clock.fast_forward(30_000)
    expect(board.locator("#banner")).to_be_empty()


def test_it_asks_for_little_while_nothing_is_new(board: Page) -> None:
    asked: list[str] = []
    board.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    for _ in range(3):
        with board.expect_response(lambda reply: reply.url.endswith("/status")):
            board.clock.fast_forward(5_100)
    assert set(asked) == {"forecasts", "status"}


def test_a_key_is_asked_for_and_kept_in_the_tab(
    opened: Open, server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["key", "operator", "--keys", str(tmp_path / "keys.json"), "--scopes", "read"])
    token = capsys.readouterr().out.strip().splitlines()[-1].split()[-1]
    server.state.keys = Keys(tmp_path / "keys.json")
    try:
        board = opened()
        dialog = board.get_by_role("dialog")
        for wrong in ("fc_wrong", token):
            dialog.get_by_label("API key").fill(wrong)
            dialog.get_by_role("button", name="Use it").click()
            if wrong != token:
                expect(dialog).to_contain_text("The key was not taken")
        shows(board, "site-1")
        expect(dialog).not_to_be_visible()
        board.reload()
        shows(board, "site-1")
        assert board.evaluate("localStorage.length") == 0
    finally:
        server.state.keys = None


def test_ten_thousand_entities(opened: Open) -> None:
    board = opened("forecast=large", by_hand=False)
    expect(board.locator("#map")).to_have_attribute("data-drawn", str(len(LARGE.entities)), timeout=20_000)
    shows(board, "site-1")
    first = board.locator("#map").get_attribute("data-first-ms")
    drawn = board.locator("#map").get_attribute("data-drawn-ms")
    print(f"{len(LARGE.entities)} entities: first map after {first} ms, drawn in {drawn} ms")
    board.locator("#forecast").select_option("day-ahead")
    expect(board.locator("#map")).to_have_attribute("data-drawn", str(len(SITE.entities)))


def test_files_are_given_once_and_none_but_the_boards(server: Running) -> None:
    page = server.ask("GET", "/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"//" not in re.sub(rb"<!doctype[^>]*>", b"", page.body)
    again = server.ask("GET", "/", headers={"if-none-match": page.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    for name in set(re.findall(rb"board/[a-z_.]+", page.body)):
        assert server.ask("GET", f"/{name.decode()}").status == 200
    for path in ("/board/", "/board/nothing.js", "/board/..%2f__init__.py", "/board/__init__.py", "/board/board.js/x"):
        assert server.ask("GET", path).status == 404
    connection = http.client.HTTPConnection(server.address, timeout=30)
    connection.request("GET", "/board/../settings.py")
    assert connection.getresponse().status == 404
    connection.close()
