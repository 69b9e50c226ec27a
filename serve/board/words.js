// Numbers and times as people read them: kW and °C, UTC, minutes and hours.

export const NONE = "–";

/** What the board knows of a target. */
export const TARGETS = {
  power_w: { name: "Load", unit: "kW", scale: 1e-3, headroom: "power_headroom_w" },
  temperature_c: { name: "Temperature", unit: "°C", scale: 1, headroom: "thermal_headroom_c" },
};

/** Who speaks, in words; the worst last. */
export const SOURCES = {
  model: "model",
  last_good: "last good forecast",
  seasonal: "usual at this hour",
  training: "usual of its kind",
  safe_bound: "safe bound only",
};

const minus = (text) => text.replace("-", "−");

/** About three significant digits. */
function figure(value) {
  const size = Math.abs(value);
  if (size < 5e-4) return "0";
  const digits = size >= 99.95 ? 0 : size >= 0.995 ? 1 : size >= 0.0995 ? 2 : 3;
  const form = { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: size >= 1e4 };
  return minus(value.toLocaleString("en-GB", form));
}

/** A value of a target, in its unit for people: `12.3 kW`; large loads in MW. */
export function quantity(target, value) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  if (target === "power_w" && Math.abs(value) >= 1e6) return `${figure(value * 1e-6)}\u00a0MW`;
  const { unit, scale } = TARGETS[target];
  const shown = target === "temperature_c" && Math.abs(value) < 99.95 ? minus(value.toFixed(1)) : figure(value * scale);
  return `${shown}\u00a0${unit}`;
}

/** A share as percent. */
export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return NONE;
  const value = share * 100;
  const text = Math.abs(value) < 9.95 && value !== 0 ? value.toFixed(1) : value.toFixed(0);
  return `${minus(text.replace("-0.0", "0.0"))}\u00a0%`;
}

/** A probability as percent; what is next to nothing or certain is told so. */
export function chance(share) {
  if (share === null || share === undefined) return NONE;
  if (share < 0.001) return "<\u00a00.1\u00a0%";
  return share > 0.999 ? ">\u00a099.9\u00a0%" : percent(share);
}

/** How long: `40 s`, `12 min`, `6 h`, `2 d 3 h`. */
export function lasting(seconds) {
  const whole = Math.max(Math.round(seconds), 0);
  if (whole < 90) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${hours / 24} d`;
}

const part = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hourCycle: "h23", ...options });
const HOUR = part({ hour: "2-digit", minute: "2-digit" });
const DAY = part({ weekday: "short", day: "numeric", month: "short" });
const SECOND = part({ hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** `18:05`, UTC. */
export const hour = (time) => HOUR.format(time);

/** `Tue, 14 Apr`, UTC. */
export const day = (time) => DAY.format(time).replace(",", "");

/** `Tue 14 Apr 18:05`, UTC. */
export const moment = (time) => `${day(time)} ${hour(time)}`;

/** `Tue 14 Apr 18:05:30 UTC`. */
export const clock = (time) => `${day(time)} ${SECOND.format(time)} UTC`;
