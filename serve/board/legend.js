// What the colours of the map mean.

import { element } from "./dom.js";
import { BASIS, STEPS, hatching, meanings } from "./scale.js";

const SIZE = [30, 13];

/** The legend of a target, as elements; the ample end first, as lightness rises. */
export function legend(target, confidence) {
  const told = meanings(target);
  const items = STEPS.map((_, step) => element("li", {}, sample(step), told[step])).reverse();
  const extra = [
    element("li", {}, element("span", { className: "swatch wide unknown", "aria-hidden": "true" }), "no limit known"),
    element("li", {}, element("span", { className: "swatch wide corner", "aria-hidden": "true" }), "fallback"),
  ];
  const title = `Headroom kept with ${Math.round(confidence * 100)} %, ${BASIS[target].told}`;
  return [element("p", {}, title), element("ul", {}, ...items, ...extra)];
}

function sample(step) {
  const ratio = window.devicePixelRatio || 1;
  const canvas = element("canvas", {
    width: SIZE[0] * ratio,
    height: SIZE[1] * ratio,
    className: "sample",
    "aria-hidden": "true",
  });
  const pen = canvas.getContext("2d");
  pen.fillStyle = STEPS[step].fill;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const lines = hatching(pen, step, ratio);
  if (lines) {
    pen.fillStyle = lines;
    pen.fillRect(0, 0, canvas.width, canvas.height);
  }
  return canvas;
}
