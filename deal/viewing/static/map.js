// The map: two principal components of all images, and a lasso that filters.

import { colour, context, count, fill, h, percent, short, byId } from "./dom.js";

const EDGE = 18;
const SERIES = 7; // sequences with a colour of their own; the others share the eighth
const STEP = 0.02;
const MANY = 5000; // points that are drawn as pixels

export class PoolMap {
  constructor(page) {
    this.page = page;
    this.canvas = byId("map");
    this.by = "score";
    this.path = null; // the lasso, in 0…1 of the map
    this.box = null; // the rectangle of the keyboard
    this.drawing = false;
    const { x, y } = page.data.columns;
    this.has = x.some((value) => value > 0);
    this.x = Float32Array.from(x, (value) => (value ? (value - 1) / 65534 : NaN));
    this.y = Float32Array.from(y, (value) => (value ? 1 - (value - 1) / 65534 : NaN));
    this.colourings();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas.parentElement);
    page.resets.push((only) => {
      if (!only || only === "lasso") this.path = this.box = null;
    });
  }

  colourings() {
    const { data } = this.page;
    const choices = [["score", "Score"], ["selection", "Selection"]];
    this.sequence = data.head.facets.findIndex(({ name }) => name === "sequence");
    if (this.sequence >= 0 && data.head.facets[this.sequence].values.length > 2) choices.push(["sequence", "Sequence"]);
    fill(
      byId("map-by"),
      choices.map(([value, label]) =>
        h("button", {
          type: "button",
          "aria-pressed": String(value === this.by),
          text: label,
          on: {
            click: () => {
              this.by = value;
              this.colourings();
              this.draw();
            },
          },
        }),
      ),
    );
    if (this.sequence >= 0) {
      const codes = data.columns[`facet${this.sequence}`];
      const totals = this.page.totals("facet:sequence", codes, data.head.facets[this.sequence].values.length);
      const order = [...totals.keys()].filter((code) => code > 0).sort((a, b) => totals[b] - totals[a] || a - b);
      this.series = new Map(order.slice(0, SERIES).map((code, i) => [code, i + 1]));
    }
  }

  listen() {
    const { canvas } = this;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return this.inward(event.clientX - box.left, event.clientY - box.top);
    };
    canvas.addEventListener("pointerdown", (event) => {
      this.drawing = true;
      this.path = [at(event)];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.drawing) {
        this.path.push(at(event));
        this.draw();
      } else this.tip(event);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!this.drawing) return;
      this.drawing = false;
      const path = this.path;
      const clicked = path.length < 4;
      this.path = clicked ? null : path;
      this.apply();
      const row = clicked ? this.nearest(event) : -1;
      if (row >= 0) this.page.open(row);
    });
    canvas.addEventListener("pointercancel", () => {
      this.drawing = false;
      this.path = null;
      this.draw();
    });
    canvas.addEventListener("pointerleave", () => {
      byId("map-tip").hidden = true;
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** A rectangle by the keyboard: arrows move it, + and − size it, Enter filters, Escape lifts. */
  key(event) {
    const box = this.box || { x: 0.5, y: 0.5, size: 0.2 };
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    if (event.key in moves) {
      const [dx, dy] = moves[event.key];
      this.box = { ...box, x: clamp(box.x + dx), y: clamp(box.y + dy) };
    } else if (event.key === "+" || event.key === "-") {
      this.box = { ...box, size: Math.min(Math.max(box.size * (event.key === "+" ? 1.2 : 1 / 1.2), 0.03), 1) };
    } else if (event.key === "Enter" && this.box) {
      const half = this.box.size / 2;
      const { x, y } = this.box;
      this.path = [[x - half, y - half], [x + half, y - half], [x + half, y + half], [x - half, y + half]];
      this.box = null;
      this.apply();
    } else if (event.key === "Escape" && (this.path || this.box)) {
      this.path = this.box = null;
      this.apply();
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.draw();
  }

  apply() {
    const { filters } = this.page;
    if (!this.path) {
      if (filters.active.has("lasso")) filters.set("lasso", null);
      else this.soon();
      return;
    }
    const inside = contains(this.path);
    filters.set("lasso", (i) => inside(this.x[i], this.y[i]), "inside the lasso");
  }

  outward(x, y) {
    return [EDGE + x * (this.width - 2 * EDGE), EDGE + y * (this.height - 2 * EDGE)];
  }

  inward(x, y) {
    return [(x - EDGE) / (this.width - 2 * EDGE), (y - EDGE) / (this.height - 2 * EDGE)];
  }

  nearest(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let distance = 144;
    for (let i = 0; i < this.x.length; i++) {
      if (this.page.filters.bits[i] !== 0) continue;
      const [px, py] = this.outward(this.x[i], this.y[i]);
      const squared = (px - x) ** 2 + (py - y) ** 2;
      if (squared < distance) [best, distance] = [i, squared];
    }
    return best;
  }

  async tip(event) {
    const row = this.nearest(event);
    const tip = byId("map-tip");
    tip.hidden = row < 0;
    this.canvas.style.cursor = row < 0 ? "crosshair" : "pointer";
    if (row < 0) return;
    const { data, pictures } = this.page;
    const box = this.canvas.getBoundingClientRect();
    const x = Math.min(event.clientX - box.left + 14, this.width - 190);
    tip.style.transform = `translate(${Math.max(x, 0)}px, ${Math.min(event.clientY - box.top + 14, this.height - 150)}px)`;
    if (tip.dataset.row === String(row)) return;
    tip.dataset.row = row;
    const canvas = h("canvas");
    const width = 160;
    const height = Math.round(width * data.head.shape);
    fill(
      tip,
      pictures.shows(row) && canvas,
      h("bdi", { text: data.text("id")[row] }),
      h("span", { text: `score ${short(data.columns.score[row])}${data.columns.pick[row] ? `, rank ${data.columns.pick[row]}` : ""}` }),
    );
    if (pictures.shows(row)) await pictures.draw(context(canvas, width, height), row, "thumbnail", { x: 0, y: 0, width, height }, "none", 1);
  }

  /** Draw with the next frame, once for all changes until then. */
  soon() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => {
      this.waits = false;
      this.draw();
    });
  }

  draw() {
    if (byId("map-panel").hidden || !this.has) return;
    this.width = this.canvas.parentElement.clientWidth;
    this.height = Math.max(280, Math.min(innerHeight - 260, Math.round(this.width * 0.66)));
    const drawing = context(this.canvas, this.width, this.height);
    this.points(drawing);
    if (this.path && this.path.length > 1) this.lasso(drawing, this.path);
    if (this.box) {
      const half = this.box.size / 2;
      const { x, y } = this.box;
      this.lasso(drawing, [[x - half, y - half], [x + half, y - half], [x + half, y + half], [x - half, y + half]]);
    }
    this.legend();
  }

  points(drawing) {
    const { data, filters } = this.page;
    const { pick } = data.columns;
    const { paint, inks } = this.inks();
    const many = data.rows > MANY;
    const radius = many ? 1 : data.rows > 2000 ? 2.5 : 4;
    if (many) this.dust(drawing, paint, inks);
    drawing.strokeStyle = colour("--ink");
    drawing.lineWidth = many ? 1 : 1.5;
    const round = (i, size) => {
      const [x, y] = this.outward(this.x[i], this.y[i]);
      drawing.fillStyle = inks[paint(i)];
      drawing.beginPath();
      drawing.arc(x, y, size, 0, 2 * Math.PI);
      drawing.fill();
      if (pick[i] && this.by !== "selection" && filters.bits[i] === 0) drawing.stroke();
    };
    if (!many) {
      drawing.globalAlpha = 0.25;
      for (let i = 0; i < data.rows; i++) if (filters.bits[i] !== 0 && !Number.isNaN(this.x[i])) round(i, radius * 0.7);
      drawing.globalAlpha = 1;
      for (let i = 0; i < data.rows; i++) if (filters.bits[i] === 0 && !pick[i] && !Number.isNaN(this.x[i])) round(i, radius);
    }
    for (const i of this.page.selectedRows) if (filters.bits[i] === 0 && !Number.isNaN(this.x[i])) round(i, many ? 2.5 : radius);
  }

  /** The colours there are, and which of them a row has. */
  inks() {
    const { data, pictures } = this.page;
    const { score, pick } = data.columns;
    const [low, high] = this.page.range;
    const scale = 32 / (high - low);
    const ways = {
      selection: () => ({ inks: [colour("--bar"), colour("--pick")], paint: (i) => (pick[i] ? 1 : 0) }),
      sequence: () => {
        const codes = data.columns[`facet${this.sequence}`];
        const series = new Uint8Array(data.head.facets[this.sequence].values.length).fill(7);
        this.series.forEach((number, code) => {
          series[code] = number - 1;
        });
        return { inks: Array.from({ length: 8 }, (_, i) => colour(`--series-${i + 1}`)), paint: (i) => series[codes[i]] };
      },
      score: () => ({
        inks: [...Array.from({ length: 33 }, (_, i) => pictures.rampText(0.12 + (0.8 * i) / 32)), colour("--line")],
        paint: (i) => (Number.isNaN(score[i]) ? 33 : Math.round((score[i] - low) * scale)),
      }),
    };
    return ways[this.by]();
  }

  /** A hundred thousand points as pixels, those that a filter leaves out below the others. */
  dust(drawing, paint, inks) {
    const { canvas } = this;
    const { bits } = this.page.filters;
    const ratio = canvas.width / this.width;
    const image = drawing.createImageData(canvas.width, canvas.height);
    const words = new Uint32Array(image.data.buffer);
    const colours = new Uint32Array(inks.length).map((_, i) => pixel(inks[i]));
    const faint = pixel(colour("--line"));
    const [edge, across, down] = [EDGE * ratio, (this.width - 2 * EDGE) * ratio, (this.height - 2 * EDGE) * ratio];
    const side = Math.ceil(1.5 * ratio);
    for (const kept of [false, true]) {
      for (let i = 0; i < bits.length; i++) {
        if ((bits[i] === 0) !== kept || Number.isNaN(this.x[i])) continue;
        const start = Math.round(edge + this.y[i] * down) * canvas.width + Math.round(edge + this.x[i] * across);
        const ink = kept ? colours[paint(i)] : faint;
        for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) words[start + y * canvas.width + x] = ink;
      }
    }
    drawing.putImageData(image, 0, 0);
  }

  lasso(drawing, path) {
    drawing.beginPath();
    for (const [x, y] of path) drawing.lineTo(...this.outward(x, y));
    drawing.closePath();
    drawing.fillStyle = colour("--accent");
    drawing.globalAlpha = 0.12;
    drawing.fill();
    drawing.globalAlpha = 1;
    drawing.strokeStyle = colour("--accent");
    drawing.lineWidth = 1.5;
    drawing.stroke();
  }

  /** What the colours mean. */
  legend() {
    const { data, pictures } = this.page;
    const [low, high] = this.page.range;
    const swatch = (ink, label) => h("span", { class: "key" }, h("span", { class: "swatch", style: { background: ink } }), h("bdi", { text: label }));
    const stops = Array.from({ length: 9 }, (_, i) => pictures.rampText(0.12 + 0.1 * i)).join(", ");
    const items = {
      score: () => [h("span", { class: "key" }, short(low), h("span", { class: "ramp", style: { background: `linear-gradient(to right, ${stops})` } }), `${short(high)} ${data.head.label}`), h("span", { class: "key" }, h("span", { class: "swatch ring" }), "selected")],
      selection: () => [swatch("var(--pick)", "selected"), swatch("var(--bar)", "not selected")],
      sequence: () => {
        const { values } = data.head.facets[this.sequence];
        const named = [...this.series].map(([code, i]) => swatch(`var(--series-${i})`, values[code]));
        return values.length - 1 > SERIES ? [...named, swatch("var(--series-8)", `${count(values.length - 1 - SERIES)} others`)] : named;
      },
    }[this.by]();
    fill(byId("map-key"), items);
    const [first, second] = data.head.axes.explained;
    byId("map-axes").textContent = `Principal components of the ${data.head.axes.kind}: across ${percent(first)}, up ${percent(second)} of the variance. Images that look alike to the network lie near each other.`;
  }
}

/** A colour of CSS as a pixel of ImageData. */
function pixel(ink) {
  const canvas = new OffscreenCanvas(1, 1);
  const drawing = canvas.getContext("2d", { willReadFrequently: true });
  drawing.fillStyle = ink;
  drawing.fillRect(0, 0, 1, 1);
  return new Uint32Array(drawing.getImageData(0, 0, 1, 1).data.buffer)[0];
}

function clamp(value) {
  return Math.min(Math.max(value, 0), 1);
}

/** Whether a point lies inside a polygon (even–odd rule). */
export function contains(path) {
  const xs = path.map(([x]) => x);
  const ys = path.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  return (x, y) => {
    if (!(x >= left && x <= right && y >= top && y <= bottom)) return false;
    let inside = false;
    for (let i = 0, j = xs.length - 1; i < xs.length; j = i++) {
      if (ys[i] > y !== ys[j] > y && x < ((xs[j] - xs[i]) * (y - ys[i])) / (ys[j] - ys[i]) + xs[i]) inside = !inside;
    }
    return inside;
  };
}
