// The tabs beside images and map: the basket, failed images, the comparison of two rounds.

import { shareOf } from "./data.js";
import { byId, context, copy, count, download, fill, h, percent, short } from "./dom.js";

const STRIP = 60;
const LINES = 12;

/** A button that shows a row in full: its picture, a word below. */
function tile(page, row, word, title) {
  const width = 112;
  const height = Math.round(width * page.data.head.shape);
  const canvas = h("canvas", { "aria-hidden": "true", style: { width: `${width}px`, height: `${height}px` } });
  page.pictures.draw(context(canvas, width, height), row, "thumbnail", { x: 0, y: 0, width, height }, "none", 1);
  const label = title || page.data.text("id")[row];
  return h("button", { type: "button", class: "near", title: label, "aria-label": `${label}, ${word}`, on: { click: () => page.open(row) } }, canvas, h("span", { text: word }));
}

/** Two bars per line: what is in the basket against the pool. */
function against(lines, head) {
  const most = Math.max(1e-9, ...lines.flatMap(({ mine, pool }) => [mine, pool]));
  const bar = (share, name) => h("span", { class: `share ${name}`, style: { width: `${(100 * share) / most}%` } });
  return h(
    "table",
    { class: "against" },
    h("thead", {}, h("tr", {}, head.map((text) => h("th", { text, scope: "col" })))),
    h(
      "tbody",
      {},
      lines.map(({ name, mine, pool, told }) =>
        h("tr", {}, h("td", {}, h("bdi", { text: name })), h("td", { class: "bars", "aria-hidden": "true" }, bar(mine, "mine"), bar(pool, "pool")), told.map((text) => h("td", { text }))),
      ),
    ),
  );
}

export function basketTab(page) {
  const { data, basket } = page;
  const element = byId("basket");
  return () => {
    const rows = basket.rows();
    const refused = basket.refused();
    byId("basket-count").textContent = count(rows.length);
    if (element.hidden) return;
    const added = rows.filter((row) => basket.state[row] === 1).length;
    const out = refused.filter((row) => data.columns.pick[row]).length;
    const shown = page.grid ? basket.addable([...page.grid.rows]) : [];
    const selected = data.columns.pick.reduce((sum, rank) => sum + (rank > 0), 0);
    const budget = Math.max(rows.length, selected, 1); // which fills up what was rejected
    const story = [`${count(rows.length)} images`];
    if (added) story.push(`${count(added)} added`);
    if (out) story.push(`${count(out)} of the selection rejected`);
    const kept = basket.keeps
      ? "Your changes are kept in this browser."
      : "This browser keeps nothing for this page: download before you close it.";
    fill(
      element,
      h("h2", { text: story.join(", ") }),
      h("p", { class: "muted", text: kept }),
      h(
        "div",
        { class: "row" },
        h("button", { type: "button", class: "main", text: "Download picked.csv", disabled: !rows.length, on: { click: () => download("picked.csv", basket.csv(rows)) } }),
        h("button", { type: "button", text: `Download rejected.csv (${count(refused.length)})`, disabled: !refused.length, on: { click: () => download("rejected.csv", basket.csv(refused)) } }),
        h("button", { type: "button", text: `Add the ${count(shown.length)} images shown`, disabled: shown.length > 10000, on: { click: () => basket.add(shown) } }),
        h("button", { type: "button", text: "Undo all changes", disabled: !basket.edited, on: { click: () => basket.reset() } }),
      ),
      command(`${data.head.filling} --include picked.csv${refused.length ? " --exclude rejected.csv" : ""} --budget ${budget} -o picked`),
      command(`deal annotate ${data.head.folder} --selection picked.csv --to label-studio -o tasks`),
      h("div", { class: "columns" }, sequences(page, rows), classes(page, rows)),
      h("h3", { text: "In the basket" }),
      rows.length
        ? h("div", { class: "strip" }, rows.slice(0, STRIP).map((row) => tile(page, row, data.columns.pick[row] ? `#${data.columns.pick[row]}` : "added")))
        : h("p", { class: "muted", text: "Nothing yet. Press s on an image, or its + button." }),
      rows.length > STRIP && h("p", { class: "muted", text: `and ${count(rows.length - STRIP)} more: filter by “in the basket” to see all` }),
      refused.length > 0 && [h("h3", { text: "Rejected" }), h("div", { class: "strip" }, refused.slice(0, STRIP).map((row) => tile(page, row, data.columns.pick[row] ? `#${data.columns.pick[row]}` : "rejected")))],
    );
  };
}

export function command(text) {
  return h("div", { class: "command" }, h("code", { text }), h("button", { type: "button", text: "Copy", on: { click: (event) => copy(text, event.target) } }));
}

function sequences(page, rows) {
  const { data } = page;
  const at = data.head.facets.findIndex(({ name }) => name === "sequence");
  if (at < 0) return null;
  const codes = data.columns[`facet${at}`];
  const { values } = data.head.facets[at];
  const pool = page.totals("facet:sequence", codes, values.length);
  const mine = new Uint32Array(values.length);
  for (const row of rows) mine[codes[row]]++;
  const lines = [...values.keys()]
    .filter((code) => pool[code])
    .sort((a, b) => mine[b] - mine[a] || pool[b] - pool[a])
    .map((code) => ({
      name: values[code] || "(none)",
      mine: mine[code] / Math.max(rows.length, 1),
      pool: pool[code] / data.rows,
      told: [count(mine[code]), count(pool[code])],
    }));
  return h("section", {}, h("h3", { text: "By sequence" }), key(), h("div", { class: "scroll" }, against(lines.slice(0, LINES), ["Sequence", "share", "basket", "pool"])), lines.length > LINES && h("p", { class: "muted", text: `and ${count(lines.length - LINES)} more` }));
}

function classes(page, rows) {
  const { data } = page;
  if (!data.head.classes.length) return null;
  const lines = data.head.classes
    .map((name, number) => {
      let sum = 0;
      for (const row of rows) sum += shareOf(data, row, number);
      const mine = sum / Math.max(rows.length, 1);
      const pool = data.head.class_shares[number];
      return { name, mine, pool, told: [percent(mine, 1), percent(pool, 1)] };
    })
    .filter(({ mine, pool }) => mine + pool > 0)
    .sort((a, b) => b.pool - a.pool)
    .slice(0, 40);
  return h("section", {}, h("h3", { text: "By class" }), key("share of pixels predicted"), h("div", { class: "scroll" }, against(lines, ["Class", "share", "basket", "pool"])));
}

function key(what = "share of images") {
  return h("p", { class: "muted keys" }, h("span", { class: "key" }, h("span", { class: "swatch mine" }), "basket"), h("span", { class: "key" }, h("span", { class: "swatch pool" }), "pool"), what);
}

export function failedTab(page) {
  const { failed, failed_total: total } = page.data.head;
  const codes = new Map();
  for (const [, code] of failed) codes.set(code, (codes.get(code) || 0) + 1);
  const ids = page.data.text("id");
  fill(
    byId("failed"),
    h("h2", { text: total ? `${count(total)} images could not be scored` : "Every image could be scored" }),
    total > failed.length && h("p", { class: "muted", text: `The first ${count(failed.length)} are listed.` }),
    total > 0 && [
      h("p", {}, [...codes].map(([code, many]) => h("span", { class: "chip", text: `${code}: ${count(many)}` }))),
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          { class: "wide" },
          h("thead", {}, h("tr", {}, ["Image", "Code", "Reason"].map((text) => h("th", { text, scope: "col" })))),
          h("tbody", {}, failed.map(([row, code, reason]) => h("tr", {}, h("td", {}, h("bdi", { text: ids[row] })), h("td", { text: code }), h("td", { class: "reason", text: reason })))),
        ),
      ),
      h("p", { class: "muted", text: "Mend or replace these files and run the same deal-score command again: it scores only what changed." }),
    ],
  );
}

/** How two rounds differ: a sentence, difficulty by class, the images that moved most. */
export function compareTab(page) {
  const { compare } = page.data.head;
  if (!compare) return;
  const { moved } = page;
  const { stack } = page.data.columns;
  const known = [...moved.keys()].filter((row) => !Number.isNaN(moved[row]) && !stack[row]);
  known.sort((a, b) => moved[b] - moved[a]);
  const word = (row) => (moved[row] > 0 ? `▲ ${count(moved[row])}` : moved[row] < 0 ? `▼ ${count(-moved[row])}` : "=");
  const title = (row) => `${page.data.text("id")[row]}: place ${count(page.data.columns.before_place[row])} → ${count(page.data.columns.place[row])}`;
  const strip = (rows) => h("div", { class: "strip" }, rows.map((row) => tile(page, row, word(row), title(row))));
  const fell = compare.by_class.filter(([, before, after]) => after < before).length;
  const rose = compare.by_class.filter(([, before, after]) => after > before).length;
  fill(
    byId("compare"),
    h("h2", {}, h("bdi", { text: compare.before }), " → ", h("bdi", { text: compare.after })),
    h("p", { text: `${count(compare.common)} images are in both. ${count(compare.both)} of ${count(compare.selected)} picks were selected before. Mean ${compare.measure} fell for ${fell} and rose for ${rose} of ${compare.by_class.length} classes.` }),
    h("h3", { text: `Mean ${compare.measure} by predicted class` }),
    dumbbells(compare),
    known.length > 0 && [
      h("h3", { text: "Moved up most" }),
      strip(known.filter((row) => moved[row] > 0).slice(0, 16)),
      h("h3", { text: "Moved down most" }),
      strip(known.filter((row) => moved[row] < 0).slice(-16).reverse()),
      h("p", { class: "muted", text: "Sort the images by “moved” to see all of them." }),
    ],
  );
}

function dumbbells(compare) {
  const top = Math.max(1e-9, ...compare.by_class.flatMap(([, before, after]) => [before, after]));
  const at = (value) => `${(100 * value) / top}%`;
  const lines = [...compare.by_class].sort((a, b) => b[2] - b[1] - (a[2] - a[1]) || b[2] - a[2]);
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "dumbbells" },
      h("thead", {}, h("tr", {}, ["Class", `0 to ${short(top)}`, "before", "after", "change"].map((text) => h("th", { text, scope: "col" })))),
      h(
        "tbody",
        {},
        lines.map(([name, before, after]) => {
          const change = after - before;
          const way = Math.abs(change) < 5e-4 * top ? "same" : change > 0 ? "rose" : "fell";
          const told = { same: "=", rose: `▲ +${short(change)}`, fell: `▼ −${short(-change)}` }[way];
          return h(
            "tr",
            {},
            h("td", {}, h("bdi", { text: name })),
            h(
              "td",
              { class: "track", "aria-hidden": "true" },
              h("span", { class: "rail" }),
              h("span", { class: `span ${way}`, style: { left: at(Math.min(before, after)), width: at(Math.abs(after - before)) } }),
              h("span", { class: "dot before", style: { left: at(before) } }),
              h("span", { class: `dot ${way}`, style: { left: at(after) } }),
            ),
            h("td", { text: short(before) }),
            h("td", { text: short(after) }),
            h("td", { class: way, text: told }),
          );
        }),
      ),
    ),
  );
}
