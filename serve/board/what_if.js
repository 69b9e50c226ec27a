// The what-if box: so much more load, here, for so long; what it would leave, here and in all that is above.

import { Gone, Refusal, Turn } from "./api.js";
import { element } from "./dom.js";
import { TARGETS, moment, quantity } from "./words.js";

const USUAL_H = 6;

export class WhatIf {
  #turn = new Turn();
  #touched = false;

  /** `askAbout(path, query, { body })` asks /v1 about the forecast that is shown. */
  constructor(form, askAbout) {
    this.askAbout = askAbout;
    const field = (id, text, input) => {
      input.id = id;
      input.required = true;
      return element("label", { htmlFor: id }, element("span", {}, text), input);
    };
    this.entity = element("input", { type: "text", spellcheck: false });
    this.added = element("input", { type: "number", step: "any", value: "10" });
    this.from = element("input", { type: "datetime-local" });
    this.until = element("input", { type: "datetime-local" });
    this.told = element("div", { className: "answer", role: "status", "aria-live": "polite" });
    form.replaceChildren(
      element("h3", { id: "what-if-title" }, "What if this load came on top?"),
      element(
        "div",
        { className: "fields" },
        field("what-if-entity", "Entity", this.entity),
        field("what-if-added", "Added, kW", this.added),
        field("what-if-from", "From, UTC", this.from),
        field("what-if-until", "Until, UTC", this.until),
        element("button", { type: "submit", className: "main" }, "Ask"),
      ),
      this.told,
    );
    for (const input of [this.from, this.until]) input.addEventListener("input", () => (this.#touched = true));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#answer();
    });
  }

  /** What is selected, and the forecast of it; an answer about another one goes. */
  about({ entity, health, confidence }) {
    if (entity !== this.entity.value) this.told.replaceChildren();
    this.entity.value = entity;
    this.confidence = confidence;
    const start = Date.parse(health.forecast_time);
    const end = start + health.horizon_steps * health.step_s * 1000;
    for (const input of [this.from, this.until]) [input.min, input.max] = [local(start), local(end)];
    const isPast = Date.parse(`${this.from.value}Z`) < start;
    if (!this.#touched || isPast) {
      this.from.value = local(start);
      this.until.value = local(Math.min(start + USUAL_H * 3600e3, end));
    }
  }

  async #answer() {
    const [from, until] = [this.from.value, this.until.value].map((value) => `${value}Z`);
    const plan = {
      entity_id: this.entity.value.trim(),
      added_power_w: { [from]: Number(this.added.value) * 1000, [until]: 0 },
    };
    const query = { from, until, confidence: this.confidence };
    try {
      const answers = await this.#turn.take(async (signal) => {
        const after = await this.askAbout("what-if", query, { signal, body: { plans: [plan] } });
        const entity = [...new Set(after.headroom.map((row) => row.entity_id))];
        return [await this.askAbout("headroom", { ...query, entity }, { signal }), after];
      });
      if (answers) this.#show(plan.entity_id, ...answers);
    } catch (error) {
      if (!(error instanceof Gone) && !(error instanceof Refusal)) throw error;
      this.told.replaceChildren(element("p", { className: "refused" }, error.message));
    }
  }

  #show(entity, { rows: before }, { headroom: after }) {
    const targets = [...new Set(after.map((row) => row.target))];
    const of = (rows, id, target) => rows.find((row) => row.entity_id === id && row.target === target);
    const ids = [...new Set(after.map((row) => row.entity_id))].sort((a, b) => (b === entity) - (a === entity));
    const rows = ids.map((id) => {
      const cells = targets.flatMap((target) =>
        [of(before, id, target), of(after, id, target)].map((row) => cell(target, row)),
      );
      return element("tr", {}, element("th", { scope: "row", title: id }, short(id, ids)), ...cells);
    });
    const heads = targets.flatMap((target) => [`${TARGETS[target].unit} before`, "after"]);
    const head = element("tr", {}, ...["Headroom", ...heads].map((text) => element("th", { scope: "col" }, text)));
    this.told.replaceChildren(
      verdict(after),
      element(
        "table",
        {},
        element("caption", { className: "unseen" }, "Headroom before and after"),
        element("thead", {}, head),
        element("tbody", {}, ...rows),
      ),
    );
  }
}

/** Whether all stay below their limits, in a sentence. */
function verdict(after) {
  const over = after.filter((row) => row.headroom !== null && row.headroom < 0);
  if (over.length) {
    const { entity_id, target, headroom, valid_time } = over.reduce((a, b) => (b.share < a.share ? b : a));
    const much = `${quantity(target, -headroom)} over its limit at ${moment(Date.parse(valid_time))}`;
    return element("p", { className: "refused" }, `It does not fit: ${entity_id} would be ${much}.`);
  }
  const isHeatKnown = after.some((row) => row.target === "temperature_c" && row.headroom !== null);
  const heat =
    isHeatKnown || !after.some((row) => row.target === "temperature_c")
      ? ""
      : " What it does to temperatures this bundle does not know: it takes no plans.";
  return element("p", { className: "kept" }, `The load fits.${heat}`);
}

function cell(target, row) {
  const isOver = row && row.headroom !== null && row.headroom < 0;
  return element(
    "td",
    {},
    element("span", { className: isOver ? "loud" : "" }, quantity(target, row ? row.headroom : null)),
  );
}

/** A name without what all of them share. */
function short(id, ids) {
  const root = ids.reduce((a, b) => (b.length < a.length ? b : a));
  return id !== root && id.startsWith(root) ? id.slice(root.length).replace(/^[\s./:_-]+/, "") : id;
}

/** As inputs of that kind want it. */
const local = (time) => new Date(time).toISOString().slice(0, 16);
