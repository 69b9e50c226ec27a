// The fleet tree, from the columns of /v1/forecasts/{name}/map.

/** A fleet as arrays over its entities, children in the order of their names. */
export class Fleet {
  constructor({ entity_id, parent, level, levels }) {
    this.ids = entity_id;
    this.parents = parent;
    this.levelOf = level;
    this.levels = levels;
    this.place = new Map(entity_id.map((id, at) => [id, at]));
    this.children = entity_id.map(() => []);
    this.roots = [];
    parent.forEach((above, at) => (above < 0 ? this.roots : this.children[above]).push(at));
    const byName = new Intl.Collator("en", { numeric: true });
    for (const list of [this.roots, ...this.children]) {
      if (list.length > 1) list.sort((a, b) => byName.compare(entity_id[a], entity_id[b]));
    }
    this.order = this.#walk();
  }

  get size() {
    return this.ids.length;
  }

  /** The name of its level. */
  levelName(at) {
    return this.levels[this.levelOf[at]];
  }

  isLeaf(at) {
    return this.children[at].length === 0;
  }

  /** Its name without what it shares with whatever holds it. */
  shortName(at) {
    const id = this.ids[at];
    const above = this.parents[at] < 0 ? "" : this.ids[this.parents[at]];
    if (!above || !id.startsWith(above) || id === above) return id;
    return id.slice(above.length).replace(/^[\s./:_-]+/, "") || id;
  }

  /** Its name within the fleet: without the root's, where there is but one. */
  localName(at) {
    const names = [this.shortName(at), ...this.above(at).map((one) => this.shortName(one))];
    if (this.roots.length === 1 && names.length > 1) names.pop();
    return this.shortName(at) === this.ids[at] ? this.ids[at] : names.reverse().join(" · ");
  }

  /** What holds it, the nearest first. */
  above(at) {
    const path = [];
    for (let one = this.parents[at]; one >= 0; one = this.parents[one]) path.push(one);
    return path;
  }

  /** The neighbour at the same level, `by` places on. */
  beside(at, by) {
    const row = this.order[this.levelOf[at]];
    return row[Math.min(Math.max(row.indexOf(at) + by, 0), row.length - 1)];
  }

  /** Entities of each level, as one meets them going down the tree. */
  #walk() {
    const order = this.levels.map(() => []);
    const waiting = [...this.roots].reverse();
    while (waiting.length) {
      const at = waiting.pop();
      order[this.levelOf[at]].push(at);
      for (let child = this.children[at].length - 1; child >= 0; child--) waiting.push(this.children[at][child]);
    }
    return order;
  }
}
