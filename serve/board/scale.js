// Headroom as colour: few steps that can be told apart on a wall, blue where room is ample, yellow where it is tight.
//
// From blue to yellow, lightness rising all the way, as in cividis (Nuñez et al. 2018,
// doi:10.1371/journal.pone.0199239): the axis that every common kind of colour vision has, and grey too. What is tight
// is hatched as well. Over the limit has a hue of its own, Okabe and Ito's vermilion.

export const UNKNOWN = -1;

/** From the tightest; the first is for what is over its limit. `hatch` is the distance of its lines in pixels. */
export const STEPS = [
  { fill: "#d55e00", ink: "#14171b", hatch: 8, crossed: true },
  { fill: "#ffe12e", ink: "#14171b", hatch: 5 },
  { fill: "#e3cd63", ink: "#14171b", hatch: 9 },
  { fill: "#bdba90", ink: "#14171b" },
  { fill: "#86a2ab", ink: "#14171b" },
  { fill: "#3a76a3", ink: "#ffffff" },
  { fill: "#1f5f97", ink: "#ffffff" },
  { fill: "#0b4678", ink: "#ffffff" },
];

/** Where one step ends and the next begins: a share of the limit for loads, °C for temperatures. */
const BOUNDS = {
  power_w: [0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6],
  temperature_c: [0, 2, 5, 10, 15, 20, 30],
};

/** The column of the map that colours go by, and how its steps are told. */
export const BASIS = {
  power_w: { column: "share", told: "share of the limit", label: (bound) => `${Math.round(bound * 100)}`, unit: "%" },
  temperature_c: { column: "headroom", told: "room below the limit", label: (bound) => `${bound}`, unit: "°C" },
};

/** The step of each value, `UNKNOWN` where there is none. */
export function steps(target, values) {
  const bounds = BOUNDS[target];
  return Int8Array.from(values, (value) => {
    if (value === null) return UNKNOWN;
    const at = bounds.findIndex((bound) => value < bound);
    return at < 0 ? bounds.length : at;
  });
}

/** What each step means, from the tightest. */
export function meanings(target) {
  const { label, unit } = BASIS[target];
  const bounds = BOUNDS[target].map(label);
  return STEPS.map((_, at) => {
    if (at === 0) return "over the limit";
    if (at === bounds.length) return `over ${bounds[at - 1]} ${unit}`;
    return `${bounds[at - 1]}–${bounds[at]} ${unit}`;
  });
}

/** Lines to lay over a step's colour, as something that fills; null for a step without. */
export function hatching(context, step, ratio) {
  const { hatch, crossed, ink } = STEPS[step];
  if (!hatch) return null;
  const size = Math.round(hatch * ratio);
  const tile = new OffscreenCanvas(size, size);
  const pen = tile.getContext("2d");
  pen.strokeStyle = ink;
  pen.globalAlpha = 0.5;
  pen.lineWidth = Math.max(ratio, 1);
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift - 1, size + 1);
    pen.lineTo(shift + size + 1, -1);
    if (crossed) {
      pen.moveTo(shift - 1, -1);
      pen.lineTo(shift + size + 1, size + 1);
    }
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}
