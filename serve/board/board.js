// The board: asks what is new, shows it, and says so when it is not new any more.

import { Gone, Refusal, Turn, ask, hasKey, keepKey } from "./api.js";
import { $, element, refill, say, segments } from "./dom.js";
import { quantilesOf, showForecast, showPlace } from "./entity.js";
import { Fleet } from "./fleet.js";
import { legend } from "./legend.js";
import { FleetMap } from "./map.js";
import { BASIS, steps } from "./scale.js";
import { levelTable, tightestTable } from "./tables.js";
import { WhatIf } from "./what_if.js";
import { NONE, SOURCES, TARGETS, chance, clock, lasting, moment, percent, quantity } from "./words.js";

/** Seconds between two looks at whether there is a newer forecast; longer after nobody answered. */
const LOOK_S = 5;
const MOST_LOOK_S = 30;

/** Steps after which data, and a forecast, are called old: the ladder's two, and the one under way. */
const OLD_STEPS = 3;

/** Milliseconds that a slider rests before the server is asked. */
const REST_MS = 90;

const chosen = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const state = {
  name: chosen.forecast ?? null,
  target: chosen.target ?? "power_w",
  confidence: Number(chosen.confidence ?? 0.9),
  mode: chosen.mode === "at" ? "at" : "until",
  step: chosen.step ? Number(chosen.step) : null, // null is the end of the horizon
  entity: chosen.entity ?? null,
  view: chosen.view === "table" ? "table" : "map",
  tightest: chosen.level ?? null,
  health: null, // the newest /status, and when it came
  heardAt: null,
  problem: null,
  fleet: null,
  map: null,
  shown: null, // what identifies the forecast that is shown
};

const turns = { map: new Turn(), entity: new Turn(), tightest: new Turn() };
const map = new FleetMap($("map"), [$("map-cells"), $("map-marks")], { point, choose });
const whatIf = new WhatIf($("what-if"), askAbout);

// --- what is new ---------------------------------------------------------------------------------------------------

async function look() {
  let pause = LOOK_S;
  try {
    await ofServer();
    state.problem = null;
  } catch (error) {
    note(error);
    pause = Math.min(MOST_LOOK_S, Math.max(LOOK_S, silence() / 4));
  } finally {
    showAges();
    setTimeout(look, pause * 1000);
  }
}

/** What the server refuses, or that there is none, is shown; anything else is a mistake of the board. */
function note(error) {
  if (!(error instanceof Gone) && !(error instanceof Refusal)) throw error;
  state.problem = error;
  if (error.status === 401 || error.status === 403) askForKey(error);
}

async function ofServer() {
  const { forecasts } = await ask("forecasts");
  if (!forecasts.length) throw new Refusal(503, "no forecast is in service yet.");
  if (!forecasts.some((one) => one.name === state.name)) state.name = forecasts[0].name;
  showNames(forecasts.map((one) => one.name));
  state.health = await askAbout("status");
  state.heardAt = performance.now();
  const { bundle_id, forecast_time, issued_at } = state.health;
  if (forecast_time === null) throw new Refusal(503, "the first forecast is being made.");
  const identity = [state.name, bundle_id, forecast_time, issued_at].join(" ");
  if (identity === state.shown) return;
  await showAll();
  state.shown = identity;
}

/** Ask about the forecast that is shown; without a path for its rows. */
function askAbout(path, query, more) {
  const whole = ["forecasts", state.name, path].filter(Boolean).map(encodeURIComponent).join("/");
  return ask(whole, query, more);
}

/** Seconds since the server last answered. */
const silence = () => (state.heardAt === null ? 0 : (performance.now() - state.heardAt) / 1000);

/** What time it is for the server, in ms; its clock may play a record. */
function serverNow() {
  const { data_time, age_s, issued_at } = state.health;
  const then = data_time === null ? Date.parse(issued_at) : Date.parse(data_time) + age_s * 1000;
  return then + silence() * 1000;
}

// --- what is shown -------------------------------------------------------------------------------------------------

async function showAll() {
  const { horizon_steps: count, targets } = state.health;
  if (!targets.includes(state.target)) state.target = targets[0];
  segments(
    $("targets"),
    "target",
    targets.map((one) => [one, `${TARGETS[one].name}, ${TARGETS[one].unit}`]),
    state.target,
    (target) => {
      state.target = target;
      whatIsShownChanged();
    },
  );
  $("horizon").max = count;
  $("horizon").value = state.step ?? count;
  showHorizon();
  await Promise.all([showMap(), showTightest()]);
  await showEntity();
}

/** The stretch of the horizon that the map speaks of, in steps. */
function stretch() {
  const last = Number($("horizon").value);
  return state.mode === "at" ? [last - 1, last] : [0, last];
}

/** The same as /v1 is asked for it. */
function stretchAsked() {
  const { step_s } = state.health;
  const [first, last] = stretch();
  return { from: `PT${first * step_s}S`, until: `PT${last * step_s}S` };
}

/** The same in ms. */
function stretchTimes() {
  const start = Date.parse(state.health.forecast_time);
  return stretch().map((step) => start + step * state.health.step_s * 1000);
}

async function showMap() {
  const told = await turns.map.take((signal) =>
    askAbout("map", { ...stretchAsked(), confidence: state.confidence }, { signal }),
  );
  if (told === undefined) return;
  if (
    !state.fleet ||
    state.fleet.ids.length !== told.entity_id.length ||
    state.fleet.ids.some((id, at) => id !== told.entity_id[at])
  ) {
    state.fleet = new Fleet(told);
    showLevels();
  }
  state.map = told;
  paint();
}

/** Show the numbers that are here, in the target that is chosen. */
function paint() {
  const { fleet, map: told, target } = state;
  const columns = told.targets[target];
  state.look = {
    target,
    columns,
    source: told.source,
    sources: told.sources,
    steps: steps(target, columns[BASIS[target].column]),
  };
  map.show(fleet, state.look);
  $("legend").replaceChildren(...legend(target, told.confidence));
  const [root] = fleet.roots;
  $("map").setAttribute("aria-label", `${fleet.size} entities; ${toldOf(root)}`);
  if (state.view === "table") showTable();
  paintTightest();
}

function showTable() {
  const level = levelShown();
  refill($("table-view"), ...levelTable(state.fleet, state.look, level, choose));
}

const levelShown = () => Math.max(state.fleet.levels.indexOf(state.tightest), 0);

async function showTightest() {
  if (!state.tightest)
    state.tightest =
      ["rack", "server"].find((level) => state.health.entities[level]) ?? Object.keys(state.health.entities)[0];
  const query = { ...stretchAsked(), confidence: state.confidence, target: state.target, level: state.tightest, n: 12 };
  const told = await turns.tightest.take((signal) => askAbout("tightest", query, { signal }));
  if (told === undefined) return;
  state.ranking = told.rows;
  paintTightest();
}

function paintTightest() {
  if (!state.look || !state.ranking) return;
  refill($("tightest"), tightestTable(state.fleet, state.look, state.ranking, choose));
  $("tightest-note").textContent = `of ${state.health.entities[state.tightest]}`;
}

async function showEntity() {
  const { fleet, health } = state;
  if (!fleet) return;
  const at = fleet.place.get(state.entity) ?? fleet.roots[0];
  state.entity = fleet.ids[at];
  map.select(at);
  const isInside = $("entity").contains(document.activeElement);
  showPlace(fleet, state.look, at, choose);
  if (isInside && document.activeElement === document.body) $("entity").focus();
  const entity = fleet.ids[at];
  const seconds = Math.min(Math.max(health.horizon_steps * health.step_s * 0.75, 3600), 7 * 86400);
  const answers = await turns.entity.take((signal) =>
    Promise.all([
      askAbout("", { entity, quantile: quantilesOf(health), layout: "columns" }, { signal }),
      askAbout("observed", { entity, last: `PT${Math.round(seconds)}S`, layout: "columns" }, { signal }),
      askAbout("topology", { entity }, { signal }),
      askAbout("headroom", { entity, ...stretchAsked(), confidence: state.confidence }, { signal }),
    ]),
  );
  if (answers === undefined) return;
  const [ahead, past, topology, rooms] = answers;
  showForecast({
    fleet,
    at,
    spec: health,
    ahead: ahead.columns,
    past: past.columns,
    about: topology.rows[0],
    rooms: rooms.rows,
    shown: stretch(),
    marked: stretchTimes(),
    now: serverNow(),
  });
  whatIf.about({ entity, health, confidence: state.confidence });
}

function showNames(names) {
  $("forecast-pick").hidden = names.length < 2;
  if ([...$("forecast").options].map((one) => one.value).join() === names.join()) return;
  $("forecast").replaceChildren(
    ...names.map((name) => element("option", { value: name, selected: name === state.name }, name)),
  );
}

function showLevels() {
  const levels = [...state.fleet.levels];
  if (!levels.includes(state.tightest)) state.tightest = levels.includes("rack") ? "rack" : levels[0];
  $("tightest-level").replaceChildren(
    ...levels.map((level) => element("option", { value: level, selected: level === state.tightest }, `${level}s`)),
  );
}

function showHorizon() {
  const [, last] = stretch();
  const [from, until] = stretchTimes();
  const ahead = lasting((state.mode === "at" ? last - 1 : last) * state.health.step_s);
  const text = `${moment(state.mode === "at" ? from : until)} UTC, ${ahead} ahead`;
  $("horizon-told").textContent = text;
  $("horizon").setAttribute("aria-valuetext", text);
}

// --- how old it is -------------------------------------------------------------------------------------------------

/** Ages go on by themselves; called each second. */
function showAges() {
  const { health } = state;
  document.body.dataset.state = state.problem ? "gone" : "heard";
  if (health?.issued_at) {
    const now = serverNow();
    const old = OLD_STEPS * health.step_s;
    const data = health.data_time === null ? Infinity : (now - Date.parse(health.data_time)) / 1000;
    const cycle = (now - Date.parse(health.issued_at)) / 1000;
    tell("data-age", data === Infinity ? "none" : `${lasting(data)} old`, data > old);
    tell("cycle-age", `${lasting(cycle)} ago`, cycle > old);
    tell("sources", spoken(health), health.falls_back);
    tell("bundle", health.bundle_id, health.bundle_refused !== null);
    $("clock").textContent = clock(now);
    $("clock").dateTime = new Date(now).toISOString();
  }
  showBanner();
}

function tell(id, text, isLoud) {
  if ($(id).textContent !== text) $(id).textContent = text;
  $(id).classList.toggle("loud", Boolean(isLoud));
}

function spoken({ sources }) {
  if (!sources) return NONE;
  const [first, ...others] = Object.keys(SOURCES)
    .filter((rung) => sources[rung])
    .reverse();
  if (!others.length) return SOURCES[first] ?? NONE;
  const fallen = Object.entries(sources).reduce((sum, [rung, count]) => (rung === "model" ? sum : sum + count), 0);
  return `fallback for ${fallen} of ${fallen + sources.model}`;
}

/** What an operator must not overlook, in sentences. */
function warnings() {
  const { health, problem } = state;
  const told = [];
  if (problem instanceof Gone) {
    const since = state.heardAt === null ? "" : ` for ${lasting(Math.floor(silence() / 10) * 10)}`;
    told.push(["broken", `No answer from the server${since}. What is shown is old; do not act on it.`]);
  } else if (problem) told.push(["broken", `The server answers: ${problem.message}`]);
  if (!health?.issued_at) return told;
  const old = OLD_STEPS * health.step_s;
  const age = health.data_time === null ? null : (serverNow() - Date.parse(health.data_time)) / 1000;
  if (age === null) told.push(["broken", "There is no telemetry at all."]);
  else if (age > old) told.push(["broken", `Telemetry is ${lasting(Math.floor(age / 60) * 60)} old.`]);
  if (health.falls_back && health.sources) {
    const rungs = Object.entries(health.sources).filter(([rung, count]) => rung !== "model" && count);
    const list = rungs.map(([rung, count]) => `${SOURCES[rung]} for ${count}`).join(", ");
    const width = age === null ? "" : " No interval is narrower than the model's last.";
    told.push(["fallen", `Fallback, not the model: ${list} of ${state.fleet?.size ?? "all"} entities.${width}`]);
  }
  if (health.bundle_refused) told.push(["fallen", `A newly published bundle was refused: ${health.bundle_refused}`]);
  for (const [where, what] of Object.entries(health.problems)) told.push(["fallen", `${where}: ${what}`]);
  return told;
}

function showBanner() {
  const told = warnings();
  const text = told.map(([, sentence]) => sentence).join("\n");
  if ($("banner").dataset.text === text) return;
  $("banner").dataset.text = text;
  $("banner").replaceChildren(...told.map(([kind, sentence]) => element("p", { className: kind }, sentence)));
  document.title = told.length ? `⚠ ${told[0][1]}` : "Fleetcast board";
}

// --- what a person does --------------------------------------------------------------------------------------------

function choose(at) {
  state.entity = state.fleet.ids[at];
  remember();
  say(`Selected ${toldOf(at)}`);
  guarded(showEntity);
}

/** One entity in words. */
function toldOf(at) {
  const { fleet, look, map: told } = state;
  const { headroom, share, exceedance } = look.columns;
  const source = told.sources[look.source[at]];
  const room =
    headroom[at] === null
      ? "no limit known"
      : `${quantity(look.target, headroom[at])} of headroom, ${percent(share[at])} of its limit`;
  const odds = exceedance[at] === null ? "" : `, passes it with ${chance(exceedance[at])}`;
  return `${fleet.levelName(at)} ${fleet.localName(at)}: ${room}${odds}; ${SOURCES[source]}`;
}

function point(at, x, y, isKeyed) {
  const tip = $("tip");
  tip.hidden = at === null || at === undefined || !state.look;
  if (tip.hidden) return;
  const [head, rest] = toldOf(at).split(/: (.*)/s);
  tip.replaceChildren(element("strong", {}, head), element("br"), rest);
  const area = $("map-view").getBoundingClientRect();
  const left = Math.min(Math.max(x - area.left + 14, 0), area.width - tip.offsetWidth - 4);
  const below = y - area.top + 18;
  const top = below + tip.offsetHeight > area.height ? Math.max(y - area.top - tip.offsetHeight - 10, 0) : below;
  tip.style.transform = `translate(${left}px, ${top}px)`;
  if (isKeyed) say(toldOf(at));
}

/** Confidence, stretch or target changed: the map at once where its numbers are here, and then what else shows them. */
function whatIsShownChanged() {
  remember();
  showHorizon();
  clearTimeout(state.resting);
  if (state.map) paint();
  state.resting = setTimeout(
    () =>
      guarded(async () => {
        await Promise.all([showMap(), showTightest()]);
        await showEntity();
      }),
    REST_MS,
  );
}

/** Work that a person asked for: what goes wrong is shown, not thrown. */
async function guarded(work) {
  try {
    await work();
    state.problem = null;
  } catch (error) {
    note(error);
  }
  showAges();
}

function remember() {
  const { name, target, confidence, mode, step, entity, view, tightest } = state;
  const kept = { forecast: name, target, confidence, mode, entity, view, level: tightest, ...(step ? { step } : {}) };
  history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
}

function askForKey(error) {
  const box = $("key");
  if (box.open) return;
  if (hasKey()) $("key-told").textContent = `The key was not taken: ${error.message}`;
  box.showModal();
}

function showView() {
  $("map-view").hidden = state.view !== "map";
  $("legend").hidden = state.view !== "map";
  $("table-view").hidden = state.view !== "table";
  if (state.look) paint();
}

function radios(name, begin, changed) {
  for (const input of document.querySelectorAll(`input[name=${name}]`)) {
    input.checked = input.value === begin;
    input.addEventListener("change", () => changed(input.value));
  }
}

const THEMES = ["system", "light", "dark"];

const SYSTEM = matchMedia("(prefers-color-scheme: dark)");

function showTheme(theme) {
  const isDark = theme === "dark" || (theme === "system" && SYSTEM.matches);
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  $("theme").textContent = `Theme: ${theme}`;
  map.draw();
}

function attend() {
  radios("mode", state.mode, (mode) => {
    state.mode = mode;
    whatIsShownChanged();
  });
  radios("view", state.view, (view) => {
    state.view = view;
    remember();
    showView();
  });
  $("confidence").value = String(state.confidence);
  $("confidence").addEventListener("change", () => {
    state.confidence = Number($("confidence").value);
    whatIsShownChanged();
  });
  $("horizon").addEventListener("input", () => {
    const last = Number($("horizon").value);
    state.step = last === Number($("horizon").max) ? null : last;
    whatIsShownChanged();
  });
  $("tightest-level").addEventListener("change", () => {
    state.tightest = $("tightest-level").value;
    remember();
    if (state.view === "table") showTable();
    guarded(showTightest);
  });
  $("forecast").addEventListener("change", () => {
    state.name = $("forecast").value;
    state.step = null;
    remember();
    guarded(ofServer);
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address says what is shown
    $("entity").focus();
  });
  $("key-form").addEventListener("submit", () => {
    keepKey($("key-text").value.trim());
    $("key-text").value = "";
    guarded(ofServer);
  });
  let theme = localStorage.getItem("fleetcast-theme") ?? "system";
  $("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem("fleetcast-theme", theme);
    showTheme(theme);
  });
  showTheme(theme);
  SYSTEM.addEventListener("change", () => showTheme(theme));
  showView();
}

attend();
look();
setInterval(showAges, 1000);
