// One image in full: overlays, legend, neighbours in time, the score along the drive.

import { carriers, reasons, shareOf } from "./data.js";
import { byId, colour, context, copy, count, fill, h, percent, short } from "./dom.js";
import { placeText } from "./grid.js";

const NEIGHBOURS = 4;
const CHART = 120;

export class Full {
  constructor(page) {
    this.page = page;
    this.dialog = byId("full");
    this.row = -1;
    this.highlight = -1;
    this.canvas = byId("full-canvas");
    byId("full-close").addEventListener("click", () => this.dialog.close());
    byId("full-next").addEventListener("click", () => this.step(1));
    byId("full-previous").addEventListener("click", () => this.step(-1));
    byId("full-hold").addEventListener("click", () => page.basket.toggle(this.row));
    byId("full-reject").addEventListener("click", () => page.basket.reject(this.row));
    byId("full-copy").addEventListener("click", (event) => copy(page.data.text("id")[this.row], event.target));
    this.dialog.addEventListener("close", () => page.closed());
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => {
      byId("full-readout").textContent = "";
    });
    const chart = byId("full-chart");
    chart.addEventListener("click", (event) => this.show(this.rowAt(event)));
    chart.addEventListener("pointermove", (event) => {
      chart.title = this.label(this.rowAt(event));
    });
    new ResizeObserver(() => this.dialog.open && this.draw()).observe(byId("full-picture"));
    page.basket.listeners.push(() => this.dialog.open && this.state());
  }

  show(row) {
    if (row === undefined || row < 0) return;
    this.row = row;
    this.page.pictures.only = this.highlight = -1;
    if (!this.dialog.open) this.dialog.showModal();
    this.describe();
    this.state();
    this.neighbours();
    this.draw();
    this.chart();
  }

  step(by) {
    const { grid } = this.page;
    const at = grid.rows.indexOf(this.row);
    const next = Math.min(Math.max(at + by, 0), grid.rows.length - 1);
    if (!grid.rows.length || (at >= 0 && next === at)) return;
    grid.mark(at < 0 ? 0 : next);
    this.show(grid.rows[at < 0 ? 0 : next]);
  }

  describe() {
    const { page, row } = this;
    const { data } = page;
    const { columns, head } = data;
    byId("full-id").textContent = data.text("id")[row];
    byId("full-rank").textContent = page.grid.rankText(row);
    byId("full-rank").classList.toggle("picked", columns.pick[row] > 0);
    const facts = [
      ["Score", `${short(columns.score[row])} ${head.label}`],
      ["Higher than", placeText(data, row) && `${placeText(data, row)} of the scored images`],
      ["Difficulty", Number.isNaN(columns.difficulty[row]) ? "" : short(columns.difficulty[row])],
      ["Entropy", Number.isNaN(columns.entropy[row]) ? "" : `${short(columns.entropy[row])} nats`],
      ...head.facets.map(({ name, values }, i) => [name, values[columns[`facet${i}`][row]]]),
      ["Time", this.time(row)],
      ["Size", columns.width[row] ? `${columns.width[row]} × ${columns.height[row]}` : ""],
      ["Failed", page.reason(row)],
      ...page.compared(row),
    ].filter(([, value]) => value);
    fill(
      byId("full-facts"),
      facts.map(([name, value]) => [h("dt", { text: name.charAt(0).toUpperCase() + name.slice(1) }), h("dd", {}, h("bdi", { text: value }))]),
    );
    fill(byId("full-why"), reasons(data, row).map((text) => h("span", { class: "chip", text })));
    this.legend();
  }

  legend() {
    const { data, pictures } = this.page;
    const { of } = data.head.why;
    const carried = new Map(of ? carriers(data, this.row) : []);
    byId("full-carried").textContent = of;
    const lines = data.head.classes
      .map((name, number) => ({ name, number, share: shareOf(data, this.row, number) }))
      .filter(({ share }) => share > 0.0005)
      .sort((a, b) => b.share - a.share)
      .map(({ name, number, share }) => {
        const [red, green, blue] = data.head.palette[number];
        return h(
          "button",
          {
            type: "button",
            class: "legend-line",
            "aria-pressed": String(this.highlight === number),
            title: "Show only this class",
            on: {
              click: () => {
                this.highlight = this.highlight === number ? -1 : number;
                pictures.only = this.highlight;
                if (this.page.overlay !== "classes" && pictures.overlays(this.row, "classes")) this.page.setOverlay("classes");
                this.legend();
                this.draw();
              },
            },
          },
          h("span", { class: "swatch", style: { background: `rgb(${red} ${green} ${blue})` } }),
          h("span", { class: "name", text: name }),
          h("span", { class: "many", text: percent(share, share < 0.1 ? 1 : 0) }),
          h("span", { class: "many carried", text: carried.has(number) ? `${carried.get(number)} %` : "" }),
        );
      });
    fill(byId("full-legend"), lines);
    byId("full-legend-head").hidden = !lines.length;
  }

  state() {
    const { basket } = this.page;
    const hold = byId("full-hold");
    hold.textContent = basket.has(this.row) ? "✓ In the basket" : "Put into the basket";
    hold.setAttribute("aria-pressed", String(basket.has(this.row)));
    byId("full-reject").setAttribute("aria-pressed", String(basket.rejected(this.row)));
    byId("full-reject").textContent = basket.rejected(this.row) ? "Rejected" : "Reject";
  }

  async draw() {
    const box = byId("full-picture").getBoundingClientRect();
    const { page, row } = this;
    if (!box.width) return;
    const absent = byId("full-absent");
    absent.hidden = page.pictures.shows(row);
    absent.textContent = absent.hidden ? "" : page.absence(row);
    const size = { x: 0, y: 0, width: box.width, height: box.height };
    await Promise.all([page.pictures.picture(row, "preview"), page.overlay in { none: 1, regions: 1 } ? null : page.pictures.map(row, page.overlay)]);
    if (row !== this.row) return;
    const drawing = context(this.canvas, box.width, box.height);
    this.place = await page.pictures.draw(drawing, row, "preview", size, page.overlay, page.opacity);
    if (!this.place && !page.pictures.shows(row)) return;
    const missing = page.overlay !== "none" && !page.pictures.overlays(row, page.overlay);
    byId("full-readout").textContent = missing ? `no ${page.overlay} stored for this image` : "";
  }

  async hover(event) {
    const { data, pictures } = this.page;
    if (!this.place || !pictures.overlays(this.row, "classes")) return;
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left - this.place.x) / this.place.width;
    const y = (event.clientY - box.top - this.place.y) / this.place.height;
    const inside = x >= 0 && x < 1 && y >= 0 && y < 1;
    const number = inside ? await pictures.classAt(this.row, x, y) : -1;
    byId("full-readout").textContent = number >= 0 ? data.head.classes[number] : "";
  }

  time(row) {
    const { columns, head } = this.page.data;
    const time = columns.time[row];
    if (Number.isNaN(time)) return "";
    return head.unit === "s" ? `${time.toFixed(2)} s into the drive` : `frame ${time}`;
  }

  label(row) {
    const { data } = this.page;
    return row < 0 ? "" : `${data.text("id")[row]} · ${this.time(row)} · score ${short(data.columns.score[row])}`;
  }

  /** Rows of the same drive, in the order of time. */
  drive() {
    const { along, drive } = this.page.data.columns;
    const { where } = this.page.data;
    const mine = drive[this.row];
    let first = where[this.row];
    let last = first;
    while (first > 0 && drive[along[first - 1]] === mine) first--;
    while (last + 1 < along.length && drive[along[last + 1]] === mine) last++;
    return along.subarray(first, last + 1);
  }

  neighbours() {
    const rows = this.drive();
    const at = rows.indexOf(this.row);
    const near = rows.subarray(Math.max(at - NEIGHBOURS, 0), at + NEIGHBOURS + 1);
    const strip = byId("full-strip");
    byId("full-time").hidden = near.length < 2;
    fill(
      strip,
      [...near].map((row) => {
        const canvas = h("canvas", { "aria-hidden": "true" });
        const width = 84;
        const height = Math.round(width * this.page.data.head.shape);
        const box = { x: 0, y: 0, width, height };
        const button = h(
          "button",
          {
            type: "button",
            class: this.page.data.columns.pick[row] ? "near picked" : "near",
            "aria-current": row === this.row ? "true" : null,
            title: this.label(row),
            "aria-label": this.label(row),
            on: { click: () => this.show(row) },
          },
          canvas,
          h("span", { text: short(this.page.data.columns.score[row]) }),
        );
        this.page.pictures.draw(context(canvas, width, height), row, "thumbnail", box, "none", 1);
        return button;
      }),
    );
  }

  chart() {
    const rows = this.drive();
    const canvas = byId("full-chart");
    const width = canvas.parentElement.clientWidth;
    if (!width || rows.length < 2) return;
    const { score, pick, time } = this.page.data.columns;
    const drawing = context(canvas, width, CHART);
    const known = Array.from(rows, (row) => score[row]).filter((value) => !Number.isNaN(value));
    // A call takes some 100,000 arguments.
    const low = known.reduce((least, value) => Math.min(least, value), Infinity);
    const high = known.reduce((most, value) => Math.max(most, value), low + 1e-9);
    const timed = [...rows].every((row) => !Number.isNaN(time[row])) && time[rows[rows.length - 1]] > time[rows[0]];
    const [start, end] = timed ? [time[rows[0]], time[rows[rows.length - 1]]] : [0, rows.length - 1];
    const left = 44;
    this.x = (i) => left + ((timed ? time[rows[i]] : i) - start) / (end - start) * (width - left - 10);
    const y = (value) => 8 + (1 - (value - low) / (high - low)) * (CHART - 32);
    drawing.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    drawing.fillStyle = colour("--muted");
    drawing.textAlign = "right";
    drawing.fillText(short(high), left - 6, y(high) + 4);
    drawing.fillText(short(low), left - 6, y(low) + 4);
    drawing.textAlign = "left";
    drawing.fillText(this.time(rows[0]) || "first", left, CHART - 4);
    drawing.textAlign = "right";
    drawing.fillText(this.time(rows[rows.length - 1]) || "last", width - 8, CHART - 4);
    drawing.strokeStyle = colour("--line");
    for (const value of [low, high]) {
      drawing.beginPath();
      drawing.moveTo(left, y(value));
      drawing.lineTo(width - 8, y(value));
      drawing.stroke();
    }
    drawing.strokeStyle = colour("--accent");
    drawing.lineWidth = 1.5;
    drawing.beginPath();
    let pen = false;
    rows.forEach((row, i) => {
      if (Number.isNaN(score[row])) pen = false;
      else {
        drawing[pen ? "lineTo" : "moveTo"](this.x(i), y(score[row]));
        pen = true;
      }
    });
    drawing.stroke();
    rows.forEach((row, i) => {
      if (pick[row] && !Number.isNaN(score[row])) dot(drawing, this.x(i), y(score[row]), 3, colour("--pick"));
    });
    const at = rows.indexOf(this.row);
    drawing.strokeStyle = colour("--ink");
    drawing.beginPath();
    drawing.moveTo(this.x(at), 2);
    drawing.lineTo(this.x(at), CHART - 20);
    drawing.stroke();
    if (!Number.isNaN(score[this.row])) dot(drawing, this.x(at), y(score[this.row]), 5, colour(pick[this.row] ? "--pick" : "--accent"));
    canvas.setAttribute("aria-label", `Score along the drive of ${count(rows.length)} images, ${short(low)} to ${short(high)}`);
  }

  rowAt(event) {
    const rows = this.drive();
    const x = event.clientX - byId("full-chart").getBoundingClientRect().left;
    let best = 0;
    for (let i = 1; i < rows.length; i++) if (Math.abs(this.x(i) - x) < Math.abs(this.x(best) - x)) best = i;
    return rows[best];
  }
}

function dot(drawing, x, y, radius, fillStyle) {
  drawing.fillStyle = fillStyle;
  drawing.beginPath();
  drawing.arc(x, y, radius, 0, 2 * Math.PI);
  drawing.fill();
  drawing.strokeStyle = colour("--card");
  drawing.lineWidth = 1.5;
  drawing.stroke();
}

