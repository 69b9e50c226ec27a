// The map: two canvases on top of each other, one for the fleet, one for what is pointed at and selected.

import { layOut } from "./layout.js";
import { STEPS, UNKNOWN, hatching } from "./scale.js";
import { percent, quantity } from "./words.js";

const FONT = '"DejaVu Sans", Verdana, system-ui, sans-serif';

/** Pixels below which lines would only be noise. */
const LEAST_HATCHED = 6;

export class FleetMap {
  /** Draws into `box`; `point(entity, x, y)` is told what the mouse or the keys are at, `choose` what is clicked. */
  constructor(box, [cells, marks], { point, choose }) {
    this.box = box;
    this.layers = [cells, marks].map((canvas) => ({ canvas, pen: canvas.getContext("2d") }));
    this.point = point;
    this.choose = choose;
    this.fleet = null;
    this.selected = this.focused = this.hovered = null;
    new ResizeObserver(() => this.resize()).observe(box.parentElement);
    box.addEventListener("pointermove", (event) => this.#hover(event));
    box.addEventListener("pointerleave", () => this.#hoverOver(null));
    box.addEventListener("click", () => this.hovered !== null && this.choose(this.hovered));
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("focus", () => this.#focusOn(this.focused ?? this.selected ?? this.fleet?.roots[0] ?? null));
    box.addEventListener("blur", () => this.#markAnew());
  }

  /** Another fleet, or the same with other numbers: `view` has `target, steps, columns, source`. */
  show(fleet, view) {
    const isSame = this.fleet === fleet;
    if (!isSame) this.selected = this.focused = this.hovered = null;
    this.fleet = fleet;
    this.view = view;
    if (isSame && this.spots) this.draw();
    else this.resize();
  }

  select(at) {
    this.selected = at;
    this.focused = at;
    this.#markAnew();
  }

  resize() {
    if (!this.fleet) return;
    const { clientWidth: width, clientHeight: height } = this.box.parentElement;
    if (!width || !height) return;
    this.spots = layOut(this.fleet, width, height);
    const ratio = (this.ratio = window.devicePixelRatio || 1);
    for (const { canvas } of this.layers) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(Math.max(this.spots.height + 2, height) * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${canvas.height / ratio}px`;
    }
    this.box.style.height = this.layers[0].canvas.style.height;
    this.draw();
  }

  /** Draw the fleet. */
  draw() {
    if (!this.spots) return;
    const began = performance.now();
    const [{ canvas, pen }] = this.layers;
    const style = getComputedStyle(this.box);
    const colours = Object.fromEntries(
      ["text", "soft", "line", "card", "page"].map((name) => [name, style.getPropertyValue(`--${name}`)]),
    );
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    this.#fill(pen, colours);
    this.#write(pen, colours);
    this.#markAnew();
    const now = performance.now();
    this.box.dataset.firstMs ??= now.toFixed(0);
    Object.assign(this.box.dataset, { drawn: this.fleet.size, drawnMs: (now - began).toFixed(1) });
  }

  /** Rectangles by step, so that thousands take a few calls. */
  #fill(pen, colours) {
    const { x, y, w, h, kind } = this.spots;
    const paths = STEPS.map(() => new Path2D());
    const hatched = STEPS.map(() => new Path2D());
    const unknown = new Path2D();
    const corners = new Path2D();
    const folds = new Path2D();
    for (let at = 0; at < this.fleet.size; at++) {
      if (kind[at] !== "cell" && kind[at] !== "tile") continue;
      const step = this.view.steps[at];
      (step === UNKNOWN ? unknown : paths[step]).rect(x[at], y[at], w[at], h[at]);
      if (step !== UNKNOWN && w[at] >= LEAST_HATCHED && h[at] >= LEAST_HATCHED)
        hatched[step].rect(x[at], y[at], w[at], h[at]);
      if (this.view.source[at] > 0) {
        const side = Math.min(Math.min(w[at], h[at]) * 0.35, 7);
        corners.moveTo(x[at] + w[at] - side, y[at]);
        corners.lineTo(x[at] + w[at], y[at]);
        corners.lineTo(x[at] + w[at], y[at] + side);
        corners.closePath();
        folds.moveTo(x[at] + w[at] - side, y[at]);
        folds.lineTo(x[at] + w[at], y[at] + side);
      }
    }
    STEPS.forEach(({ fill }, step) => {
      pen.fillStyle = fill;
      pen.fill(paths[step]);
      const lines = hatching(pen, step, this.ratio);
      if (lines) {
        lines.setTransform(new DOMMatrix().scale(1 / this.ratio));
        pen.fillStyle = lines;
        pen.fill(hatched[step]);
      }
    });
    pen.fillStyle = colours.card;
    pen.fill(unknown);
    pen.strokeStyle = colours.soft;
    pen.lineWidth = 0.5;
    pen.stroke(unknown);
    pen.fillStyle = colours.page;
    pen.fill(corners);
    pen.strokeStyle = colours.text;
    pen.lineWidth = 0.7;
    pen.stroke(folds);
  }

  #write(pen, colours) {
    const { x, y, w, h, kind } = this.spots;
    pen.textBaseline = "middle";
    for (const list of this.fleet.order) {
      for (const at of list) {
        if (kind[at] === "panel") this.#title(pen, colours, at);
        else if (kind[at] === "strip") this.#label(pen, colours, at);
        else if (kind[at] === "tile" && h[at] >= 16 && w[at] >= 30) this.#value(pen, at, x[at], y[at], w[at], h[at]);
      }
    }
  }

  #title(pen, colours, at) {
    const { x, y, w } = this.spots;
    const middle = y[at] + 9;
    this.#swatch(pen, colours, at, x[at] + 2, middle - 5);
    pen.fillStyle = colours.text;
    pen.font = `600 12px ${FONT}`;
    const name = this.fleet.shortName(at);
    pen.fillText(name, x[at] + 17, middle, w[at] - 20);
    const after = x[at] + 17 + pen.measureText(name).width + 8;
    pen.fillStyle = colours.soft;
    pen.font = `11px ${FONT}`;
    const told = [this.#told(at), percent(this.view.columns.share[at])].join(" · ");
    if (after + pen.measureText(told).width < x[at] + w[at]) pen.fillText(told, after, middle);
  }

  #label(pen, colours, at) {
    const { x, y, w, h } = this.spots;
    const tall = h[at] >= 30;
    const first = tall ? y[at] + 8 : y[at] + h[at] / 2;
    this.#swatch(pen, colours, at, x[at] + 2, first - 5);
    pen.fillStyle = colours.text;
    pen.font = `11px ${FONT}`;
    pen.fillText(this.fleet.shortName(at), x[at] + 17, first, w[at] - 17);
    if (!tall) return;
    pen.fillStyle = colours.soft;
    pen.font = `10px ${FONT}`;
    pen.fillText(this.#told(at), x[at] + 17, first + 15, w[at] - 17);
  }

  #value(pen, at, x, y, w, h) {
    const step = this.view.steps[at];
    const ink = step === UNKNOWN ? getComputedStyle(this.box).getPropertyValue("--text") : STEPS[step].ink;
    const lines = h >= 36 ? [this.fleet.shortName(at), this.#told(at)] : [this.#told(at)];
    if (h < 36 && w >= 128) lines[0] = `${this.fleet.shortName(at)}  ${lines[0]}`;
    const size = h >= 36 ? 12 : 11;
    lines.forEach((text, line) => {
      pen.font = `${line === lines.length - 1 ? "600 " : ""}${size}px ${FONT}`;
      const across = pen.measureText(text).width;
      if (across > w - 6) return;
      const middle = y + h / 2 + (line - (lines.length - 1) / 2) * (size + 3);
      if (step >= 0 && STEPS[step].hatch) {
        pen.fillStyle = STEPS[step].fill; // hatching stops where it would cross letters
        pen.fillRect(x + 4, middle - size / 2 - 1, across + 4, size + 2);
      }
      pen.fillStyle = ink;
      pen.fillText(text, x + 6, middle);
    });
  }

  #swatch(pen, colours, at, x, y) {
    const step = this.view.steps[at];
    pen.fillStyle = step === UNKNOWN ? colours.card : STEPS[step].fill;
    pen.fillRect(x, y, 10, 10);
    pen.strokeStyle = colours.soft;
    pen.lineWidth = 0.5;
    pen.strokeRect(x + 0.25, y + 0.25, 9.5, 9.5);
  }

  #told(at) {
    return quantity(this.view.target, this.view.columns.headroom[at]);
  }

  /** Outlines of what is selected, and of what is pointed at. */
  #markAnew() {
    const { canvas, pen } = this.layers[1];
    pen.setTransform(this.ratio || 1, 0, 0, this.ratio || 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.spots) return;
    const style = getComputedStyle(this.box);
    const [text, page, accent] = ["text", "page", "accent"].map((name) => style.getPropertyValue(`--${name}`));
    if (this.hovered !== null)
      this.#outline(pen, this.hovered, [
        [page, 3],
        [text, 1.25],
      ]);
    if (this.selected !== null)
      this.#outline(pen, this.selected, [
        [page, 6],
        [text, 2.5],
      ]);
    if (this.focused !== null && document.activeElement === this.box) {
      this.#outline(pen, this.focused, [
        [page, 7],
        [accent, 3],
      ]);
    }
  }

  #outline(pen, at, strokes) {
    const [x, y, w, h] = this.spots.outer.subarray(4 * at, 4 * at + 4);
    for (const [colour, width] of strokes) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.strokeRect(x - 1, y - 1, w + 2, h + 2);
    }
  }

  /** The smallest thing at a place. */
  #under(left, top) {
    if (!this.spots) return null;
    const { outer } = this.spots;
    let found = null;
    let area = Infinity;
    for (let at = 0; at < this.fleet.size; at++) {
      const [x, y, w, h] = [outer[4 * at], outer[4 * at + 1], outer[4 * at + 2], outer[4 * at + 3]];
      if (left >= x && left < x + w && top >= y && top < y + h && w * h < area) [found, area] = [at, w * h];
    }
    return found;
  }

  #hover(event) {
    const bounds = this.box.getBoundingClientRect();
    const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
    this.#hoverOver(this.#under(x, y), event.clientX, event.clientY);
  }

  #hoverOver(at, x, y) {
    const isNew = at !== this.hovered;
    this.hovered = at;
    this.point(at, x, y, false);
    if (isNew) this.#markAnew();
  }

  #focusOn(at) {
    if (at === null || at === undefined) return;
    this.focused = at;
    this.#markAnew();
    const [x, y, w] = this.spots.outer.subarray(4 * at, 4 * at + 3);
    const bounds = this.box.getBoundingClientRect();
    this.point(at, bounds.left + x + Math.min(w, 40), bounds.top + y, true);
  }

  #key(event) {
    if (!this.fleet || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.focused ?? this.fleet.roots[0];
    const to = {
      ArrowRight: () => this.fleet.beside(at, 1),
      ArrowLeft: () => this.fleet.beside(at, -1),
      ArrowUp: () => this.fleet.above(at)[0] ?? at,
      ArrowDown: () => this.fleet.children[at][0] ?? at,
      Home: () => this.fleet.roots[0],
    }[event.key];
    if (to) this.#focusOn(to());
    else if (event.key === "Enter" || event.key === " ") this.choose(at);
    else return;
    event.preventDefault();
  }
}
