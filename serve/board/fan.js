// The fan of one entity and target: what was observed, what is forecast, and the limit, on one axis of time.

import { drawn } from "./dom.js";
import { TARGETS, chance, day, hour, moment, quantity } from "./words.js";

const SIZE = { width: 560, height: 176, left: 46, right: 10, top: 20, bottom: 20 };
const PLOT = SIZE.height - SIZE.top - SIZE.bottom;
const ODDS = 16;
/** Where the strip of chances grows darker. */
const ODDS_STEPS = [0.005, 0.02, 0.1, 0.3, 0.6];
const WANTED = [0.01, 0.1, 0.2];

/** The quantile levels to ask for: the median, and up to three pairs around it. */
export function levelsOf(known) {
  const has = (level) => known.some((one) => Math.abs(one - level) < 1e-9);
  const pairs = known.filter((level) => level < 0.4 && has(1 - level));
  const chosen = new Set(WANTED.map((wanted) => nearest(pairs, wanted)).filter((level) => level !== undefined));
  const lower = [...chosen].sort((a, b) => a - b);
  const middle = nearest(known, 0.5);
  return { pairs: lower.map((level) => [level, nearest(known, 1 - level)]), middle };
}

/** The column of a quantile, as the forecast's contract names it. */
export const column = (target, level) => `${target}_p${Number((level * 100).toFixed(6))}`;

/** One chart.
 *
 * `past` and `ahead` are columns of /v1 (observed, and forecast rows); `levels` as of `levelsOf`; `marked` is the
 * stretch `[from, until]` that the map shows, in ms.
 */
export function fan({ target, past, ahead, levels, limit, stepMs, marked }) {
  const { scale, name } = TARGETS[target];
  const shown = (values) => values.map((value) => (value === null ? NaN : value * scale));
  const times = ahead.valid_time.map(Date.parse);
  const pastTimes = past.time.map(Date.parse);
  const seen = shown(past[target] ?? past.time.map(() => null));
  const bands = levels.pairs.map(([low, high]) => [
    shown(ahead[column(target, low)]),
    shown(ahead[column(target, high)]),
  ]);
  const middle = shown(ahead[column(target, levels.middle)]);
  const bound = limit === null ? NaN : limit * scale;
  const odds = ahead[`${target}_exceedance`];

  const from = pastTimes[0] ?? times[0];
  const until = times.at(-1) + stepMs;
  const [low, high] = extent([...seen, ...middle, ...bands.flat(2)], bound, target === "power_w");
  const x = (time) => SIZE.left + ((time - from) / (until - from)) * (SIZE.width - SIZE.left - SIZE.right);
  const y = (value) => SIZE.top + ((high - value) / (high - low)) * PLOT;

  const most = argmax(middle);
  const label =
    `${name}: median at most ${quantity(target, middle[most] / scale)} at ${moment(times[most])}` +
    (limit === null
      ? ", no limit known."
      : `; limit ${quantity(target, limit)}, passed with at most ${chance(Math.max(...odds))}.`);
  const svg = drawn("svg", {
    viewBox: `0 0 ${SIZE.width} ${SIZE.height + ODDS}`,
    role: "img",
    "aria-label": label,
    class: "fan",
  });

  for (const value of ticks(low, high)) {
    svg.append(line(SIZE.left, y(value), SIZE.width - SIZE.right, y(value), "grid"));
    svg.append(text(SIZE.left - 6, y(value) + 3.5, value.toLocaleString("en-GB"), "end"));
  }
  svg.append(...timeAxis(hours(from, until), x));
  bands.forEach(([lower, upper], at) => {
    const there = [...times, until].map(x);
    const up = steps(there, upper.map(y));
    const down = steps(there, lower.map(y)).reverse();
    svg.append(drawn("path", { class: `band band-${bands.length - at}`, d: `M${[...up, ...down].join("L")}Z` }));
  });
  if (marked) {
    const [first, last] = marked.map((time) => x(Math.min(Math.max(time, times[0]), until)));
    const isStep = last - first < 8; // a line above the bands; more is a tint behind them
    const box = rectangle(first, SIZE.top, Math.max(last - first, 2), PLOT, isStep ? "marked step" : "marked");
    if (isStep) svg.append(box);
    else svg.prepend(box);
  }
  svg.append(
    drawn("path", {
      class: "observed",
      d: broken(
        pastTimes.map((time) => x(time + stepMs / 2)),
        seen.map(y),
      ),
    }),
  );
  svg.append(
    drawn("path", {
      class: "median",
      d: broken(
        times.map((time) => x(time + stepMs / 2)),
        middle.map(y),
      ),
    }),
  );
  svg.append(line(x(times[0]), SIZE.top - 4, x(times[0]), SIZE.height - SIZE.bottom, "issued"));
  svg.append(line(SIZE.left, SIZE.height - SIZE.bottom, SIZE.width - SIZE.right, SIZE.height - SIZE.bottom, "axis"));
  svg.append(text(SIZE.left - 6, 11, TARGETS[target].unit, "end"));
  svg.append(text(SIZE.left, 11, name, "start", "title"));
  if (limit !== null) {
    svg.append(line(SIZE.left, y(bound), SIZE.width - SIZE.right, y(bound), "limit"));
    svg.append(text(SIZE.width - SIZE.right, y(bound) - 5, `limit ${quantity(target, limit)}`, "end", "limit-told"));
    svg.append(...chances(times, until, odds, x));
  }
  readOut(svg, { x, y, times, pastTimes, seen, middle, bands, levels, odds, target, stepMs, from, until });
  return svg;
}

/** What the colours of a fan mean. */
export function fanLegend(levels) {
  const items = levels.pairs.map(([low, high], at) => [
    `band band-${levels.pairs.length - at}`,
    `${Math.round((high - low) * 100)} %`,
  ]);
  return [...items, ["median", "median"], ["observed", "observed"], ["limit", "limit"], ["odds", "chance to pass it"]];
}

/** Ticks of time, and as many labels as have room; midnights first, which are told as days. */
function timeAxis(times, x) {
  const bottom = SIZE.height - SIZE.bottom;
  const made = times.map((time) => line(x(time), bottom, x(time), bottom + 4, "axis"));
  const isDay = (time) => time % 86_400e3 === 0;
  const taken = [];
  for (const time of [...times.filter(isDay), ...times.filter((one) => !isDay(one))]) {
    const half = isDay(time) ? 36 : 20;
    const middle = Math.min(Math.max(x(time), SIZE.left + half - 3), SIZE.width - half + 3);
    if (taken.some(([other, width]) => Math.abs(other - middle) < width + half)) continue;
    taken.push([middle, half]);
    made.push(text(middle, bottom + 15, isDay(time) ? day(time) : hour(time), "middle"));
  }
  return made;
}

/** A thin strip below: how likely the limit is passed, the darker the likelier. */
function chances(times, until, odds, x) {
  const top = SIZE.height + 2;
  const strip = [rectangle(SIZE.left, top, SIZE.width - SIZE.left - SIZE.right, 8, "odds-none")];
  const shade = odds.map((value) => ODDS_STEPS.filter((bound) => value >= bound).length);
  for (let first = 0; first < shade.length;) {
    let last = first;
    while (shade[last] === shade[first]) last++;
    const [from, to] = [x(times[first]), x(times[last] ?? until)];
    if (shade[first]) strip.push(rectangle(from, top, to - from, 8, `odds odds-${shade[first]}`));
    first = last;
  }
  return strip;
}

/** A line that follows the mouse, and the values there. */
function readOut(svg, { x, y, times, pastTimes, seen, middle, bands, levels, odds, target, stepMs, from, until }) {
  const rule = line(0, SIZE.top, 0, SIZE.height - SIZE.bottom, "rule");
  const told = text(SIZE.width - SIZE.right, 11, "", "end", "told");
  const { scale } = TARGETS[target];
  rule.setAttribute("visibility", "hidden");
  svg.append(rule, told);
  svg.addEventListener("pointerleave", () => {
    rule.setAttribute("visibility", "hidden");
    told.textContent = "";
  });
  svg.addEventListener("pointermove", (event) => {
    const bounds = svg.getBoundingClientRect();
    const left = ((event.clientX - bounds.left) / bounds.width) * SIZE.width;
    const time = from + ((left - SIZE.left) / (SIZE.width - SIZE.left - SIZE.right)) * (until - from);
    if (time < from || time >= until) return;
    const isAhead = time >= times[0];
    const grid = isAhead ? times : pastTimes;
    const at = Math.min(Math.max(Math.floor((time - grid[0]) / stepMs), 0), grid.length - 1);
    rule.setAttribute("x1", x(grid[at] + stepMs / 2));
    rule.setAttribute("x2", x(grid[at] + stepMs / 2));
    rule.setAttribute("visibility", "visible");
    const value = (of) => quantity(target, of / scale);
    const [low, high] = bands[0].map((of) => value(of[at]));
    told.textContent = isAhead
      ? `${hour(grid[at])}  median ${value(middle[at])}, ${interval(levels.pairs[0])} ${low} to ${high}` +
        (odds[at] === null ? "" : `, passes limit ${chance(odds[at])}`)
      : `${hour(grid[at])}  observed ${value(seen[at])}`;
  });
}

const interval = ([low, high]) => `${Math.round((high - low) * 100)} %`;

/** The values to show: all that is drawn, the limit where it is not far away; from 0 where that is near. */
function extent(values, bound, fromZero) {
  const known = values.filter((value) => !Number.isNaN(value));
  let [low, high] = [Math.min(...known), Math.max(...known)];
  if (!Number.isNaN(bound)) {
    high = Math.max(high, bound);
    low = Math.min(low, bound);
  }
  const spare = (high - low || Math.abs(high) || 1) * 0.06;
  if (fromZero && low < 0.4 * high) low = 0;
  else low -= spare;
  return [low, high + spare];
}

function ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const made = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) made.push(Number(value.toPrecision(6)));
  return made;
}

/** Round hours between two times, seven or so. */
function hours(from, until) {
  const HOUR = 3600e3;
  const step = [0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 168]
    .map((one) => one * HOUR)
    .find((one) => (until - from) / one <= 9);
  const made = [];
  for (let time = Math.ceil(from / step) * step; time < until; time += step) made.push(time);
  return made;
}

const argmax = (values) => values.reduce((best, value, at) => (value > values[best] ? at : best), 0);

/** The corners of a staircase. */
function steps(edges, values) {
  return values.flatMap((value, at) => [
    `${edges[at].toFixed(1)} ${value.toFixed(1)}`,
    `${edges[at + 1].toFixed(1)} ${value.toFixed(1)}`,
  ]);
}

/** A line that stops where nothing is known. */
function broken(xs, ys) {
  let isDown = false;
  return xs
    .map((x, at) => {
      if (Number.isNaN(ys[at])) {
        isDown = false;
        return "";
      }
      const move = isDown ? "L" : "M";
      isDown = true;
      return `${move}${x.toFixed(1)} ${ys[at].toFixed(1)}`;
    })
    .join("");
}

const nearest = (values, wanted) =>
  values.reduce(
    (best, one) => (best === undefined || Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best),
    undefined,
  );
const line = (x1, y1, x2, y2, kind) => drawn("line", { x1, y1, x2, y2, class: kind });
const rectangle = (x, y, width, height, kind) => drawn("rect", { x, y, width, height, class: kind });
const text = (x, y, content, anchor, kind = "tick") =>
  drawn("text", { x, y, "text-anchor": anchor, class: kind }, content);
