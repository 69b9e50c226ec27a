// A Fleetcast bundle forecasts without Python: raw telemetry from a CSV in, quantiles out, numbers the same.
//
//     npm install && node forecast.mjs BUNDLE TELEMETRY.csv > forecasts.csv
//
// The CSV has the columns time (ISO 8601, UTC), entity_id, and signals by their names, such as power_w. What it lacks is
// unknown to the model, which bears that. Repairing faulty samples and rolling servers up to racks is left out here: every
// entity whose targets are in the CSV is forecast from its own rows. Everything else, scaling and calibration included, is
// inside model.onnx.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "csv-parse/sync";
import { InferenceSession, Tensor } from "onnxruntime-node";

// The order of these names is the code of a level, from 1 on; 0 is unknown.
const LEVELS = ["gpu", "server", "rack", "row", "hall", "site", "fleet"];

/** The bundle's interface, and its entities by id. */
function open(folder) {
  const { spec, topology, skus } = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
  const entities = new Map(
    topology.entity_id.map((id, row) => [
      id,
      Object.fromEntries(Object.entries(topology).map(([name, column]) => [name, column[row]])),
    ]),
  );
  return { spec, entities, skus };
}

/** Rows of the CSV by entity, each with `step`, the number of its grid step since 1970; blanks are NaN. */
function readTelemetry(path, { spec, entities }) {
  const rows = parse(readFileSync(path), { columns: true, skip_empty_lines: true });
  const byEntity = new Map();
  for (const row of rows) {
    if (!entities.has(row.entity_id)) continue;
    const zoned = /(Z|[+-]\d\d:?\d\d)$/.test(row.time) ? row.time : `${row.time}Z`;
    const step = Math.floor(Date.parse(zoned) / 1000 / spec.step_s);
    if (Number.isNaN(step)) throw new Error(`${path}: time ${JSON.stringify(row.time)} is not ISO 8601`);
    const values = spec.past.map((name) => (row[name] ? Number(row[name]) : NaN));
    if (!byEntity.has(row.entity_id)) byEntity.set(row.entity_id, []);
    byEntity.get(row.entity_id).push({ step, values });
  }
  for (const [id, samples] of byEntity) {
    const told = samples.some(({ values }) => values.slice(0, spec.targets.length).some(Number.isFinite));
    if (!told) byEntity.delete(id);
  }
  if (byEntity.size === 0) throw new Error(`${path}: no row tells ${spec.targets.join(" or ")} of an entity of this bundle`);
  return byEntity;
}

/** One entity's past [C, L]: the mean of each step's samples, NaN where there are none. */
function past(rows, firstStep, { past: signals, context_steps: steps }) {
  const sums = new Float64Array(signals.length * steps);
  const counts = new Uint32Array(sums.length);
  for (const { step, values } of rows) {
    const at = step - firstStep;
    if (at < 0 || at >= steps) continue;
    values.forEach((value, channel) => {
      if (Number.isNaN(value)) return;
      sums[channel * steps + at] += value;
      counts[channel * steps + at] += 1;
    });
  }
  return Float32Array.from(sums, (sum, cell) => sum / counts[cell]); // 0 / 0 is NaN: not observed
}

/** What is known ahead, [F, H]: the local time of day and week as waves; what a clock does not tell is unknown. */
function future(firstStep, timeZone, { future: names, horizon_steps: steps, step_s: stepS }) {
  const clock = new Intl.DateTimeFormat("en-GB", {
    timeZone, weekday: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  });
  const days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
  const told = new Float32Array(names.length * steps).fill(NaN);
  for (let at = 0; at < steps; at++) {
    const local = clock.formatToParts(new Date((firstStep + at) * stepS * 1000));
    const part = Object.fromEntries(local.map(({ type, value }) => [type, value]));
    const day = (Number(part.hour) + Number(part.minute) / 60 + Number(part.second) / 3600) / 24;
    const week = (days.indexOf(part.weekday) + day) / 7;
    const waves = {
      day_sin: Math.sin(2 * Math.PI * day), day_cos: Math.cos(2 * Math.PI * day),
      week_sin: Math.sin(2 * Math.PI * week), week_cos: Math.cos(2 * Math.PI * week),
    };
    names.forEach((name, channel) => {
      if (name in waves) told[channel * steps + at] = waves[name];
    });
  }
  return told;
}

/** What is constant of an entity, [S]: limits, codes from 1 on; NaN and 0 are unknown. */
function constants(entity, { static: names }, skus) {
  const known = {
    power_limit_w: entity.power_limit_w ?? NaN,
    temperature_limit_c: entity.temperature_limit_c ?? NaN,
    level_code: LEVELS.indexOf(entity.level) + 1,
    sku_code: skus.indexOf(entity.sku) + 1,
  };
  return Float32Array.from(names, (name) => known[name] ?? NaN);
}

/** One tensor of the rows [shape] of every entity. */
function stacked(rows, shape) {
  const data = new Float32Array(rows.length * rows[0].length);
  rows.forEach((row, index) => data.set(row, index * row.length));
  return new Tensor("float32", data, [rows.length, ...shape]);
}

/** Quantiles [B, T, Q, H] as CSV: a line per entity and step, a column per target and level. */
function print(ids, firstStep, quantiles, { targets, quantile_levels: levels, horizon_steps: steps, step_s: stepS }) {
  const columns = targets.flatMap((target) => levels.map((level) => `${target}_p${Number((level * 100).toPrecision(6))}`));
  const lines = [["entity_id", "valid_time", ...columns].join(",")];
  ids.forEach((id, entity) => {
    for (let at = 0; at < steps; at++) {
      const time = new Date((firstStep + at) * stepS * 1000).toISOString();
      const values = columns.map((_, column) => quantiles[(entity * columns.length + column) * steps + at]);
      lines.push([id, time, ...values].join(","));
    }
  });
  console.log(lines.join("\n"));
}

async function main(folder, csv) {
  const bundle = open(folder);
  const { spec } = bundle;
  const telemetry = readTelemetry(csv, bundle);
  const ids = [...telemetry.keys()].sort();
  let newest = -Infinity;
  for (const rows of telemetry.values()) for (const { step } of rows) newest = Math.max(newest, step);
  const origin = newest + 1; // the first step that is forecast
  const { entities, skus } = bundle;
  const session = await InferenceSession.create(join(folder, "model.onnx"));
  const { quantiles } = await session.run({
    past: stacked(
      ids.map((id) => past(telemetry.get(id), origin - spec.context_steps, spec)),
      [spec.past.length, spec.context_steps],
    ),
    future: stacked(
      ids.map((id) => future(origin, entities.get(id).time_zone, spec)),
      [spec.future.length, spec.horizon_steps],
    ),
    static: stacked(ids.map((id) => constants(entities.get(id), spec, skus)), [spec.static.length]),
  });
  print(ids, origin, quantiles.data, spec);
}

const [folder, csv, ...rest] = process.argv.slice(2);
if (!csv || rest.length) {
  console.error("usage: node forecast.mjs BUNDLE TELEMETRY.csv");
  process.exit(2);
}
main(folder, csv).catch((error) => {
  console.error(`error: ${error.message}`);
  process.exit(1);
});
