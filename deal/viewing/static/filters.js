// Filters that cross: one bit per filter and row, so that a filter's own counts leave it out.

const MOST = 31;

export class Filters {
  constructor(rows) {
    this.rows = rows;
    this.bits = new Uint32Array(rows);
    this.passed = rows;
    this.known = new Map();
    this.active = new Map();
    this.listeners = [];
  }

  /** The bit of a filter, by its name. */
  bit(name) {
    if (!this.known.has(name)) {
      if (this.known.size >= MOST) throw new Error(`more than ${MOST} filters`);
      this.known.set(name, 2 ** this.known.size);
    }
    return this.known.get(name);
  }

  /** Set or (with null) lift a filter; `said` tells readers what it keeps. */
  set(name, keeps, said = "") {
    performance.mark("deal:filter:start");
    const bit = this.bit(name);
    const { bits, rows } = this;
    if (keeps === null) for (let i = 0; i < rows; i++) bits[i] &= ~bit;
    else for (let i = 0; i < rows; i++) bits[i] = keeps(i) ? bits[i] & ~bit : bits[i] | bit;
    if (keeps === null) this.active.delete(name);
    else this.active.set(name, said);
    this.tell();
    performance.measure("deal:filter", "deal:filter:start");
  }

  clear() {
    this.bits.fill(0);
    this.active.clear();
    this.tell();
  }

  tell() {
    let passed = 0;
    for (let i = 0; i < this.rows; i++) if (this.bits[i] === 0) passed++;
    this.passed = passed;
    for (const listener of this.listeners) listener();
  }

  /** Rows per code among those that all other filters keep. */
  counts(name, codes, values) {
    const others = ~this.bit(name) >>> 0;
    const { bits, rows } = this;
    const counts = new Uint32Array(values);
    for (let i = 0; i < rows; i++) if ((bits[i] & others) === 0) counts[codes[i]]++;
    return counts;
  }

  /** Rows that all filters keep, in the given order. */
  kept(order) {
    const { bits } = this;
    const found = new Uint32Array(this.passed);
    let next = 0;
    for (let i = 0; i < order.length; i++) if (bits[order[i]] === 0) found[next++] = order[i];
    return found;
  }
}

/** Rows by a number, ascending, NaN last, ties in the order of the rows. */
export function orderBy(values, descending = false) {
  const rows = values.length;
  const single = Float32Array.from(values);
  const words = new Uint32Array(single.buffer);
  const keys = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    const word = words[i];
    // Floats in the order of unsigned numbers (the sign flips all bits of a negative one).
    let key = word & 0x80000000 ? ~word >>> 0 : (word | 0x80000000) >>> 0;
    if (descending) key = 0xffffffff - key;
    keys[i] = (Number.isNaN(single[i]) ? 0x100000000 : key) * 1048576 + i;
  }
  keys.sort();
  const order = new Uint32Array(rows);
  for (let i = 0; i < rows; i++) order[i] = keys[i] % 1048576;
  return order;
}
