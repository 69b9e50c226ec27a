// The fleet in rows: the tightest with the time when they are, and all of a level for whoever reads rather than looks.

import { element } from "./dom.js";
import { STEPS, UNKNOWN } from "./scale.js";
import { NONE, SOURCES, chance, moment, percent, quantity } from "./words.js";

const MOST_ROWS = 500;

/** A table whose first column chooses an entity. `rows` are `{ at, cells, step }`. */
function table(fleet, caption, heads, rows, choose) {
  const body = rows.map(({ at, cells, step }) => {
    const button = element(
      "button",
      { type: "button", className: "link", title: fleet.ids[at] },
      swatch(step),
      fleet.localName(at),
    );
    button.addEventListener("click", () => choose(at));
    const row = element(
      "tr",
      {},
      element("th", { scope: "row" }, button),
      ...cells.map((cell) => element("td", {}, cell)),
    );
    row.dataset.entity = fleet.ids[at];
    return row;
  });
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  return element(
    "table",
    {},
    element("caption", { className: "unseen" }, caption),
    element("thead", {}, head),
    element("tbody", {}, ...body),
  );
}

/** A square in the colour of a step. */
export function swatch(step) {
  const square = element("span", { className: "swatch", "aria-hidden": "true" });
  if (step !== UNKNOWN) square.style.background = STEPS[step].fill;
  return square;
}

/** The rows of /v1/forecasts/{name}/tightest. */
export function tightestTable(fleet, view, rows, choose) {
  const known = rows.filter((row) => fleet.place.has(row.entity_id));
  const made = known.map((row) => {
    const at = fleet.place.get(row.entity_id);
    return {
      at,
      step: view.steps[at],
      cells: [
        quantity(row.target, row.headroom),
        percent(row.share),
        quantity(row.target, row.limit),
        chance(view.columns.exceedance[at]),
        moment(Date.parse(row.valid_time)),
        SOURCES[row.source],
      ],
    };
  });
  const heads = ["Entity", "Headroom", "Share", "Limit", "Passes it", "Tightest at, UTC", "Source"];
  return table(fleet, "The entities with the least headroom", heads, made, choose);
}

/** All entities of some level, the tightest first; a note where they are more than a person reads. */
export function levelTable(fleet, view, level, choose) {
  const { headroom, share, limit, exceedance } = view.columns;
  const all = [...fleet.order[level]].sort((a, b) => (share[a] ?? Infinity) - (share[b] ?? Infinity));
  const rows = all.slice(0, MOST_ROWS).map((at) => ({
    at,
    step: view.steps[at],
    cells: [
      quantity(view.target, headroom[at]),
      percent(share[at]),
      quantity(view.target, limit[at]),
      exceedance[at] === null ? NONE : chance(exceedance[at]),
      SOURCES[view.sources[view.source[at]]],
    ],
  }));
  const name = fleet.levels[level];
  const caption = `Headroom by ${name}, the tightest first`;
  const heads = [name[0].toUpperCase() + name.slice(1), "Headroom", "Share", "Limit", "Passes it", "Source"];
  const made = table(fleet, caption, heads, rows, choose);
  if (all.length <= MOST_ROWS) return [made];
  return [made, element("p", { className: "note" }, `The ${MOST_ROWS} tightest of ${all.length}.`)];
}
