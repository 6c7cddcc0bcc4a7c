// Puts the page together: data, filters, grid, map, basket, keys.

import { Basket } from "./basket.js";
import { load, shareOf } from "./data.js";
import { byId, count, h } from "./dom.js";
import { activeFilters, panels } from "./facets.js";
import { Filters } from "./filters.js";
import { Full } from "./full.js";
import { Grid } from "./grid.js";
import { headOfPage, themes } from "./head.js";
import { Histogram } from "./histogram.js";
import { PoolMap } from "./map.js";
import { later } from "./paper.js";
import { Pictures } from "./pictures.js";
import { compared, sorts } from "./sorts.js";
import { basketTab, compareTab, failedTab } from "./tables.js";
import { toolbar } from "./toolbar.js";

async function start() {
  const data = await load();
  const page = {
    data,
    filters: new Filters(data.rows),
    basket: new Basket(data),
    pictures: new Pictures(data),
    held: new Uint8Array(data.rows),
    resets: [],
    idle: [],
    overlay: "none",
    opacity: 0.6,
    size: 230,
    folded: true,
    hidden: 0,
    sort: "rank",
    descending: false,
    order: null,
    ...parts(data),
  };
  const { filters, basket } = page;
  page.headroom = () => byId("bar").getBoundingClientRect().height;
  page.absence = (row) => absence(data, page, row);
  page.reason = (row) => page.failures.get(row);
  page.compared = (row) => compared(data, page, row);
  page.sortValue = (row) => page.sorts[page.sort].told(row);
  page.unfold = (row) => {
    page.folded = false;
    byId("fold").checked = false;
    page.show();
    page.grid.go(page.grid.rows.indexOf(row));
  };
  const renewed = [];
  page.show = () => {
    const rows = filters.kept(page.order);
    page.grid.show(page.folded ? folded(data, page, rows) : rows);
    activeFilters(page);
    byId("empty").hidden = rows.length > 0;
  };
  page.lift = (name) => {
    page.resets.forEach((reset) => reset(name));
    filters.set(name, null);
  };
  page.clear = () => {
    page.resets.forEach((reset) => reset());
    filters.clear();
  };
  byId("empty-clear").addEventListener("click", page.clear);
  page.open = (row) => page.full.show(row);
  page.closed = () => {
    page.pictures.only = -1;
    const at = page.grid.rows.indexOf(page.full.row);
    if (tab() === "images" && at >= 0) page.grid.go(at);
  };
  const held = () => {
    for (let i = 0; i < data.rows; i++) page.held[i] = basket.rejected(i) ? 2 : basket.has(i) ? 0 : 1;
  };
  held();
  page.sorts = sorts(data, page);
  page.grid = new Grid(byId("grid"), page);
  page.full = new Full(page);
  byId("tab-map").hidden = !data.columns.x.some((value) => value > 0);
  byId("tab-failed").hidden = !data.head.failed_total;
  byId("tab-compare").hidden = !data.head.compare;
  byId("failed-count").textContent = count(data.head.failed_total);
  headOfPage(page);
  toolbar(page);
  basket.listeners.push(held);
  renewed.push(panels(byId("panels"), page), ...histograms(page));
  page.map = new PoolMap(page);
  const basketShown = basketTab(page);
  basket.listeners.push(() => page.grid.refresh(), basketShown);
  filters.listeners.push(page.show, () => renewed.forEach((renew) => renew()), () => page.map.soon(), () => later(page));
  const tab = tabs(page, { basket: basketShown, map: () => page.map.draw(), failed: () => failedTab(page), compare: () => compareTab(page), images: () => page.grid.renew() });
  keys(page, tab);
  themes(() => {
    filters.tell();
    page.map.draw();
    if (page.full.dialog.open) page.full.chart();
  });
  byId("filters").open = innerWidth > 800;
  page.sortBy("rank");
  renewed.forEach((renew) => renew());
  basketShown();
  later(page);
  page.idle.forEach((job) => (window.requestIdleCallback || setTimeout)(job));
  document.documentElement.dataset.ready = "true";
  performance.measure("deal:open");
  globalThis.deal = page;
}

/** What is computed once from the columns. */
function parts(data) {
  const { score, pick, place } = data.columns;
  let [low, high] = [Infinity, -Infinity];
  for (const value of score) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const totals = new Map();
  const before = data.columns.before_place;
  const selectedRows = [];
  for (let i = 0; i < data.rows; i++) if (pick[i]) selectedRows.push(i);
  return {
    range: low < high ? [low, high] : [low, low + 1e-9],
    failures: new Map(data.head.failed.map(([row, code, reason]) => [row, `${code}: ${reason}`])),
    selectedRows,
    moved: before ? Float32Array.from(before, (was, i) => (was && place[i] ? was - place[i] : NaN)) : new Float32Array(0),
    totals(name, codes, values) {
      if (!totals.has(name)) {
        const counts = new Uint32Array(values);
        for (const code of codes) counts[code]++;
        totals.set(name, counts);
      }
      // What is in the basket changes, so all of its values can be chosen.
      return name === "basket" ? new Uint32Array(values).fill(1) : totals.get(name);
    },
  };
}

function absence(data, page, row) {
  const failed = page.failures.get(row);
  if (failed) return failed;
  if (data.head.unreadable[row]) return data.head.unreadable[row];
  return data.group[row] === 3 ? "could not be scored" : "no picture in this page";
}

/** Leave out near-duplicates whose leader is shown, too. */
function folded(data, page, rows) {
  const { stack } = data.columns;
  const { bits } = page.filters;
  page.hidden = 0;
  if (!data.members.size) return rows;
  const kept = new Uint32Array(rows.length);
  let next = 0;
  for (let i = 0; i < rows.length; i++) {
    const leader = stack[rows[i]];
    if (leader === 0 || bits[leader - 1] !== 0) kept[next++] = rows[i];
  }
  page.hidden = rows.length - next;
  return kept.subarray(0, next);
}

function histograms(page) {
  const { data } = page;
  const { score, entropy, difficulty } = data.columns;
  const found = [new Histogram(page, { name: "score", label: `Score: ${data.head.label}`, values: score }, true)];
  const other = (name, label, values, unit) => {
    if (values.some((value, i) => !Number.isNaN(value) && value !== score[i])) found.push(new Histogram(page, { name, label, values, unit }, false));
  };
  other("difficulty", "Mean difficulty", difficulty);
  other("entropy", "Mean entropy", entropy, " nats");
  if (data.head.classes.length) {
    const values = (c) => Float32Array.from({ length: data.rows }, (_, row) => (data.group[row] > 1 ? NaN : shareOf(data, row, c)));
    const label = (c) => `Share of ${data.head.classes[c]}`;
    const choice = h("select", { "aria-label": "Class of the histogram" }, data.head.classes.map((name, i) => h("option", { value: i, text: name })));
    const histogram = new Histogram(page, { name: "share", label: label(0), values: values(0), choice }, false);
    const summary = histogram.element.querySelector("summary");
    summary.textContent = "Class shares";
    choice.addEventListener("change", () => {
      const lifted = histogram.range !== null;
      histogram.use({ label: label(Number(choice.value)), values: values(Number(choice.value)) });
      if (lifted) page.filters.set("share", null);
      else histogram.renew();
    });
    found.push(histogram);
  }
  byId("panels").prepend(...found.map(({ element }) => element));
  return found.map((histogram) => () => histogram.renew());
}

function tabs(page, shown) {
  const buttons = [...document.querySelectorAll("[role=tab]")];
  const select = (button) => {
    for (const other of buttons) {
      const chosen = other === button;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      byId(other.getAttribute("aria-controls")).hidden = !chosen;
    }
    shown[button.dataset.tab]();
    const top = byId("body").offsetTop;
    if (scrollY > top) scrollTo({ top });
  };
  for (const button of buttons) {
    button.addEventListener("click", () => select(button));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const visible = buttons.filter((other) => !other.hidden);
      const next = visible[(visible.indexOf(button) + step + visible.length) % visible.length];
      select(next);
      next.focus();
      event.preventDefault();
      event.stopPropagation();
    });
  }
  return () => buttons.find((button) => button.getAttribute("aria-selected") === "true").dataset.tab;
}

function keys(page, tab) {
  const help = byId("help");
  byId("help-open").addEventListener("click", () => help.showModal());
  byId("help-close").addEventListener("click", () => help.close());
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input:not([type=checkbox]):not([type=range]), textarea, select")) return;
    const { full, grid } = page;
    const answered = help.open ? false : full.dialog.open ? fullKey(page, event) : pageKey(page, event, tab, grid, help);
    if (answered) event.preventDefault();
  });
}

function fullKey(page, event) {
  const { full, basket } = page;
  const slider = event.target.closest("input[type=range]");
  if (event.key === "j" || (event.key === "ArrowRight" && !slider)) full.step(1);
  else if (event.key === "k" || (event.key === "ArrowLeft" && !slider)) full.step(-1);
  else if (event.key === "s") basket.toggle(full.row);
  else if (event.key === "x") basket.reject(full.row);
  else if (event.key === "o") cycle(page);
  else if (event.key === "Enter" && event.target === full.dialog) full.dialog.close();
  else return false;
  return true;
}

function pageKey(page, event, tab, grid, help) {
  if (event.key === "/") byId("filters").open = true;
  if (event.key === "/") byId("search").focus();
  else if (event.key === "?") help.showModal();
  else if (event.key === "o") cycle(page);
  else return tab() === "images" && grid.key(event);
  return true;
}

function cycle(page) {
  const at = page.overlays.indexOf(page.overlay);
  page.setOverlay(page.overlays[(at + 1) % page.overlays.length]);
}

start().catch((error) => {
  const story = byId("trouble");
  story.hidden = false;
  story.textContent = `This page could not be opened: ${error.message}. It needs a browser of 2023 or later.`;
  throw error;
});
