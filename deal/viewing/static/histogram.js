// Histograms that filter: drag over the bars, or type the bounds.

import { colour, context, count, h, short } from "./dom.js";
import { section } from "./facets.js";

const BINS = 48;
const HEIGHT = 56;
const NONE = BINS; // the bin of rows without a value

/** A column of numbers as a filter. `spec`: name, label, values (Float32Array), format. */
export class Histogram {
  constructor(page, spec, open) {
    this.page = page;
    this.name = spec.name;
    this.range = null;
    this.canvas = h("canvas", { class: "histogram", "aria-hidden": "true" });
    const bound = (which) =>
      h("input", {
        type: "number",
        step: "any",
        "aria-label": `${spec.label}, ${which}`,
        on: { change: () => this.typed() },
      });
    this.low = bound("least");
    this.high = bound("greatest");
    this.clear = h("button", { type: "button", class: "link", text: "Clear", on: { click: () => this.set(null) } });
    this.tip = h("span", { class: "tip" });
    this.element = section(
      spec.label,
      open,
      spec.choice,
      this.canvas,
      h("div", { class: "row bounds" }, this.low, h("span", { text: "to" }), this.high, this.clear),
      this.tip,
    );
    this.use(spec);
    this.brush();
    new ResizeObserver(([{ contentRect }]) => {
      if (!contentRect.width || contentRect.width === this.width) return;
      this.width = contentRect.width;
      this.renew();
    }).observe(this.tip);
    this.element.addEventListener("toggle", () => this.renew());
    page.resets.push((only) => {
      if (!only || only === this.name) this.range = null;
    });
  }

  /** Take other values; a range that was set is lifted. */
  use(spec) {
    this.label = spec.label;
    this.unit = spec.unit || "";
    this.values = spec.values;
    let least = Infinity;
    let most = -Infinity;
    for (const value of spec.values) {
      if (value < least) least = value;
      if (value > most) most = value;
    }
    if (least > most) [least, most] = [0, 1];
    if (least === most) most = least + 1e-6;
    this.least = least;
    this.most = most;
    const scale = BINS / (most - least);
    this.bins = Uint8Array.from(spec.values, (value) =>
      Number.isNaN(value) ? NONE : Math.min(BINS - 1, Math.floor((value - least) * scale)),
    );
    this.range = null;
  }

  set(range) {
    this.range = range;
    if (!range) return this.page.filters.set(this.name, null);
    const [low, high] = range;
    const { values } = this;
    const said = `${this.label.toLowerCase()} ${short(low)} to ${short(high)}${this.unit}`;
    return this.page.filters.set(this.name, (i) => values[i] >= low && values[i] <= high, said);
  }

  typed() {
    // A box shows four digits of a number that it did not get by typing.
    const [first, last] = this.range || [this.least, this.most];
    const exact = (text, shown, bound) => (text === "" ? bound : text === tidy(shown) ? shown : Number(text));
    const low = exact(this.low.value, first, this.least);
    const high = exact(this.high.value, last, this.most);
    if (low <= high) this.set([low, high]);
  }

  brush() {
    let from = null;
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    };
    const value = (share) => this.least + share * (this.most - this.least);
    this.canvas.addEventListener("pointerdown", (event) => {
      from = at(event);
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const share = at(event);
      const bin = Math.min(BINS - 1, Math.floor(share * BINS));
      const step = (this.most - this.least) / BINS;
      this.tip.textContent = `${short(this.least + bin * step)} to ${short(this.least + (bin + 1) * step)}${this.unit}: ${count(this.counts[bin])} images, ${count(this.selected[bin])} selected`;
      if (from !== null) {
        this.range = [value(Math.min(from, share)), value(Math.max(from, share))];
        this.draw();
      }
    });
    this.canvas.addEventListener("pointerup", (event) => {
      const to = at(event);
      const range = Math.abs(to - from) < 0.01 ? null : [value(Math.min(from, to)), value(Math.max(from, to))];
      from = null;
      this.set(range);
    });
    this.canvas.addEventListener("pointercancel", () => {
      from = null;
    });
    this.canvas.addEventListener("pointerleave", () => {
      this.tip.textContent = "";
    });
  }

  renew() {
    if (!this.element.open) return;
    const { filters, data } = this.page;
    this.counts = filters.counts(this.name, this.bins, BINS + 1);
    this.selected = new Uint32Array(BINS + 1);
    const others = ~filters.bit(this.name) >>> 0;
    const { pick } = data.columns;
    const { bits } = filters;
    for (const row of this.page.selectedRows) if ((bits[row] & others) === 0 && pick[row]) this.selected[this.bins[row]]++;
    this.draw();
  }

  draw() {
    if (!this.counts || !this.width) return;
    const { width } = this;
    const drawing = context(this.canvas, width, HEIGHT);
    const most = Math.max(1, ...this.counts.subarray(0, BINS));
    const step = width / BINS;
    const bar = (bin, many, fill) => {
      if (!many) return;
      const height = Math.max(1.5, (many / most) * (HEIGHT - 4));
      drawing.fillStyle = fill;
      drawing.fillRect(bin * step + 0.5, HEIGHT - height, Math.max(step - 1, 1), height);
    };
    const [whole, mark] = [colour("--bar"), colour("--pick")];
    for (let bin = 0; bin < BINS; bin++) {
      bar(bin, this.counts[bin], whole);
      bar(bin, this.selected[bin], mark);
    }
    drawing.fillStyle = colour("--line-strong");
    drawing.fillRect(0, HEIGHT - 1, width, 1);
    const [low, high] = this.range || [this.least, this.most];
    if (this.range) {
      const x = (value) => ((value - this.least) / (this.most - this.least)) * width;
      drawing.fillStyle = colour("--accent");
      drawing.globalAlpha = 0.16;
      drawing.fillRect(x(low), 0, Math.max(x(high) - x(low), 1), HEIGHT);
      drawing.globalAlpha = 1;
      drawing.fillRect(x(low) - 1, 0, 2, HEIGHT);
      drawing.fillRect(x(high) - 1, 0, 2, HEIGHT);
    }
    this.low.value = tidy(low);
    this.high.value = tidy(high);
    this.clear.hidden = !this.range;
  }
}

function tidy(value) {
  return String(Number(value.toPrecision(4)));
}
