// One entity: where it is, how it fares, its fans, and what lies below it.

import { $, element, refill } from "./dom.js";
import { fan, fanLegend, levelsOf } from "./fan.js";
import { swatch } from "./tables.js";
import { SOURCES, TARGETS, chance, lasting, moment, percent, quantity } from "./words.js";

const MOST_BELOW = 60;

/** The way down to an entity, and what is right below it. */
export function showPlace(fleet, view, at, choose) {
  const link = (one, name) => {
    const button = element(
      "button",
      { type: "button", className: "link", title: fleet.ids[one] },
      swatch(view.steps[one]),
      name,
    );
    button.addEventListener("click", () => choose(one));
    const item = element("li", {}, button);
    item.dataset.entity = fleet.ids[one];
    return item;
  };
  const path = [...fleet.above(at)].reverse();
  refill($("crumbs"), element("ol", {}, ...path.map((one) => link(one, fleet.shortName(one)))));
  $("crumbs").hidden = !path.length;
  $("entity-title").textContent = fleet.shortName(at);
  $("entity-title").title = fleet.ids[at];

  const below = [...fleet.children[at]].sort((a, b) => (view.columns.share[a] ?? 9) - (view.columns.share[b] ?? 9));
  const items = below.slice(0, MOST_BELOW).map((one) => {
    const item = link(one, fleet.shortName(one));
    item.append(element("span", { className: "note" }, quantity(view.target, view.columns.headroom[one])));
    return item;
  });
  const more =
    below.length > MOST_BELOW
      ? [element("p", { className: "note" }, `… and ${below.length - MOST_BELOW} with more room.`)]
      : [];
  $("below").hidden = !below.length;
  refill(
    $("below"),
    element("h3", { id: "below-title" }, "Below it, the tightest first"),
    element("ul", {}, ...items),
    ...more,
  );
}

/** The figures and the fans of an entity, from rows of /v1; `shown` are the steps, `marked` the times, of the map. */
export function showForecast({ fleet, at, spec, ahead, past, about, rooms, shown, marked, now }) {
  const rung = worst(ahead.source);
  $("entity-kind").replaceChildren(
    `${about.level}, ${about.sku} · `,
    element("span", { className: rung === "model" ? "" : "loud" }, SOURCES[rung]),
    ahead.data_time[0] ? ` · data ${lasting((now - Date.parse(ahead.data_time[0])) / 1000)} old` : " · no data",
    ["ok", "no_data"].includes(ahead.status[0]) ? "" : ` · ${ahead.status[0]}`,
  );
  $("entity-facts").replaceChildren(
    ...rooms.map((room) => fact(room, Math.max(...ahead[`${room.target}_exceedance`].slice(...shown)))),
  );
  const levels = levelsOf(spec.quantile_levels);
  const limits = { power_w: about.power_limit_w, temperature_c: about.temperature_limit_c };
  const stepMs = spec.step_s * 1000;
  const charts = spec.targets.map((target) =>
    fan({ target, past, ahead, levels, limit: limits[target], stepMs, marked }),
  );
  const key = fanLegend(levels).map(([kind, text]) =>
    element("li", {}, element("span", { className: `key ${kind}` }), text),
  );
  $("fans").replaceChildren(
    ...charts,
    element("ul", { className: "keys", "aria-label": "Meaning of the charts" }, ...key),
  );
  $("fans").dataset.entity = fleet.ids[at];
}

/** The quantiles that the fans need. */
export function quantilesOf(spec) {
  const { pairs, middle } = levelsOf(spec.quantile_levels);
  return [...new Set([...pairs.flat(), middle])];
}

function fact({ target, headroom, share, limit, valid_time }, odds) {
  const kind = headroom === null ? "" : share < 0.05 || (target === "temperature_c" && headroom < 2) ? "loud" : "";
  const { name } = TARGETS[target];
  const notes =
    headroom === null
      ? ["no limit known"]
      : [
          `${percent(share)} of ${quantity(target, limit)}`,
          `least at ${moment(Date.parse(valid_time))}`,
          `passes its limit: ${chance(odds)}`,
        ];
  return element(
    "div",
    { className: "tile" },
    element("p", { className: "note" }, `${name} headroom`),
    element("p", { className: `big ${kind}` }, quantity(target, headroom)),
    ...notes.map((text) => element("p", { className: "note" }, text)),
  );
}

const worst = (sources) => Object.keys(SOURCES).findLast((rung) => sources.includes(rung)) ?? "model";
