// Where everything of a fleet is drawn: halls are panels, rows strips, racks tiles, servers cells within.
//
// Levels are not looked at, only the tree: a tile holds nothing but leaves (or is one), a strip nothing but tiles, and
// a panel is whatever holds strips or panels. So any fleet has a map, one without rows or with GPUs too.

const MARGIN = 4;
const TITLE = 22;
const INSET = 8;
const LABEL = 78;
const NARROW_LABEL = 50;
const TILE = { least: 7, most: 300 };
const SHAPES = [0.35, 0.45, 0.6, 0.8, 1.05, 1.4];
const PANEL_COLUMNS = 8;

const LEAF = 0;
const CELLED = 1;
const STRIP = 2;
const PANEL = 3;

/** Place a fleet in so many pixels; what cannot be read at that size goes on below.
 *
 * Gives `height`, and by entity: `x, y, w, h` of what is coloured, `outer` `[x, y, w, h]` of all of it, and `kind` of
 * mark (`cell`, `tile`, `strip`, `panel`).
 */
export function layOut(fleet, width, height) {
  const kinds = kindsOf(fleet);
  let best = null;
  for (let columns = 1; columns <= PANEL_COLUMNS; columns++) {
    for (const shape of SHAPES) {
      const tile = widest(fleet, kinds, width, height, { columns, shape });
      const area = tile * tile * shape;
      if (!best || area > best.area) best = { columns, shape, tile, area };
    }
  }
  const size = fleet.size;
  const marks = {
    x: new Float32Array(size),
    y: new Float32Array(size),
    w: new Float32Array(size),
    h: new Float32Array(size),
    outer: new Float32Array(4 * size),
    kind: new Array(size),
  };
  return { ...marks, height: place(fleet, kinds, width, best, marks) };
}

function kindsOf(fleet) {
  const kinds = new Uint8Array(fleet.size);
  for (const level of fleet.order) {
    for (const at of level) {
      const highest = fleet.children[at].reduce((most, child) => Math.max(most, kinds[child]), -1);
      const isRoot = fleet.parents[at] < 0;
      kinds[at] = isRoot && highest >= LEAF ? PANEL : Math.min(highest + 1, PANEL);
    }
  }
  return kinds;
}

/** The widest tile with which everything fits. */
function widest(fleet, kinds, width, height, plan) {
  let [low, high] = [TILE.least, TILE.most];
  for (let turn = 0; turn < 9; turn++) {
    const tile = (low + high) / 2;
    if (place(fleet, kinds, width, { ...plan, tile }, null) <= height) low = tile;
    else high = tile;
  }
  return low;
}

/** Place all; the height that it takes. Without `marks` nothing is kept. */
function place(fleet, kinds, width, plan, marks) {
  const tileHeight = Math.max(Math.round(plan.tile * plan.shape), TILE.least);
  const tile = Math.floor(plan.tile);
  const gap = tile >= 28 ? 4 : 2;
  const label = tile >= 40 ? LABEL : NARROW_LABEL;

  const keep = (at, kind, x, y, w, h, outerHeight = h, outerWidth = w) => {
    if (!marks) return;
    marks.kind[at] = kind;
    marks.x[at] = x;
    marks.y[at] = y;
    marks.w[at] = w;
    marks.h[at] = h;
    marks.outer.set([x, y, outerWidth, outerHeight], 4 * at);
  };

  const tiles = (list, x, y, w) => {
    if (tile > w && !marks) return Infinity;
    const perLine = Math.max(Math.floor((w + gap) / (tile + gap)), 1);
    if (marks) {
      list.forEach((at, count) => {
        const left = x + (count % perLine) * (tile + gap);
        const top = y + Math.floor(count / perLine) * (tileHeight + gap);
        tileOf(at, left, top);
      });
    }
    return Math.ceil(list.length / perLine) * (tileHeight + gap) - gap;
  };

  const tileOf = (at, x, y) => {
    const leaves = fleet.children[at];
    const band = leaves.length ? bandOf(tileHeight) : tileHeight;
    keep(at, "tile", x, y, tile, band, tileHeight);
    if (!leaves.length) return;
    const [w, h] = [tile, tileHeight - band - 1];
    const across = columnsOf(leaves.length, w, h);
    const down = Math.ceil(leaves.length / across);
    const thin = Math.min(w / across, h / down) >= 5 ? 1 : 0;
    leaves.forEach((leaf, count) => {
      const left = x + ((count % across) * w) / across;
      const top = y + band + 1 + (Math.floor(count / across) * h) / down;
      const right = (count % across) + 1 === across ? x + w : left + w / across - thin;
      const bottom = Math.floor(count / across) + 1 === down ? y + tileHeight : top + h / down - thin;
      keep(leaf, "cell", left, top, right - left, bottom - top);
    });
  };

  const strip = (at, x, y, w) => {
    const h = tiles(fleet.children[at], x + label, y, w - label);
    keep(at, "strip", x, y, label - gap, h, h, w);
    return h;
  };

  const panel = (at, x, y, w) => {
    let top = y + TITLE;
    const children = fleet.children[at];
    const loose = children.filter((child) => kinds[child] <= CELLED);
    const strips = children.filter((child) => kinds[child] === STRIP);
    const panels = children.filter((child) => kinds[child] === PANEL);
    if (loose.length) top += tiles(loose, x, top, w) + gap;
    for (const child of strips) top += strip(child, x, top, w) + gap;
    top = panels.length ? shelves(panels, x, top, w) : top - gap;
    keep(at, "panel", x, y, w, TITLE - 4);
    return top - y;
  };

  const shelves = (list, x, y, w) => {
    const across = Math.min(plan.columns, list.length);
    const each = (w - (across - 1) * 2 * INSET) / across;
    let top = y;
    for (let first = 0; first < list.length; first += across) {
      const shelf = list.slice(first, first + across);
      const heights = shelf.map((at, count) => one(at, x + count * (each + 2 * INSET), top, each));
      top += Math.max(...heights) + INSET;
    }
    return top - INSET;
  };

  const one = (at, x, y, w) => {
    if (kinds[at] === PANEL) return panel(at, x, y, w);
    return kinds[at] === STRIP ? strip(at, x, y, w) : tiles([at], x, y, w);
  };

  return shelves(fleet.roots, MARGIN, MARGIN, width - 2 * MARGIN) + MARGIN;
}

/** The part of a tile that shows its own value, above its cells. */
function bandOf(height) {
  if (height >= 84) return 40;
  return height >= 44 ? 22 : Math.max(Math.round(height * 0.34), 3);
}

/** How many columns make the cells of a tile the least narrow. */
function columnsOf(count, w, h) {
  let best = 1;
  let most = 0;
  for (let across = 1; across <= count; across++) {
    const least = Math.min(w / across, (1.6 * h) / Math.ceil(count / across));
    if (least > most) [best, most] = [across, least];
  }
  return best;
}
