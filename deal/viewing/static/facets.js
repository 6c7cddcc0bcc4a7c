// Filters by text: status, sequence, camera, folder, attributes; classes; the id.

import { byId, count, fill, h, percent } from "./dom.js";

const SORTED = 1000; // values that are sorted anew with every filter
const FIRST = 6; // values that stand there before "more"

/** All panels of filters; returns a function that renews their counts. */
export function panels(element, page) {
  const { data, filters } = page;
  const renewals = [];
  const add = (panel) => {
    element.append(panel.element);
    renewals.push(panel.renew);
  };
  add(search(page));
  add(facet(page, "status", "Status", data.group, data.groups, true));
  add(facet(page, "basket", "Basket", page.held, ["in the basket", "not in it", "rejected"], false));
  if (data.head.compare) {
    const { before_pick: before, pick } = data.columns;
    const codes = Uint8Array.from(pick, (rank, i) => (rank ? (before[i] ? 0 : 1) : before[i] ? 2 : 3));
    add(facet(page, "rounds", "Rounds", codes, ["picked in both", "picked only now", "picked only before", "picked in neither"], true));
  }
  data.head.facets.forEach(({ name, values }, i) => {
    const codes = data.columns[`facet${i}`];
    const shown = values.map((value) => value || "(none)");
    if (page.totals(`facet:${name}`, codes, values.length).filter((many) => many > 0).length > 1) {
      add(facet(page, `facet:${name}`, title(name), codes, shown, i < 2));
    }
  });
  if (data.head.classes.length) add(classShare(page));
  return () => renewals.forEach((renew) => renew());
}

function title(name) {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/** A section that folds. */
export function section(name, open, ...children) {
  return h("details", { class: "panel", open }, h("summary", { text: name }), ...children);
}

function search(page) {
  const { data, filters } = page;
  let lower = null;
  let starts = null;
  const input = h("input", {
    id: "search",
    type: "search",
    placeholder: "Search ids  ( / )",
    "aria-label": "Search ids",
    autocomplete: "off",
    spellcheck: "false",
    on: { input: () => apply(input.value) },
  });
  const prepare = () => {
    const ids = data.text("id").map((id) => id.toLowerCase());
    starts = new Uint32Array(ids.length);
    let at = 0;
    ids.forEach((id, i) => {
      starts[i] = at;
      at += id.length + 1;
    });
    lower = ids.join("\u0000");
  };
  const apply = (text) => {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return filters.set("text", null);
    if (lower === null) prepare();
    const found = new Uint8Array(data.rows);
    let row = 0;
    for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, starts[row + 1] ?? lower.length)) {
      while (row + 1 < starts.length && starts[row + 1] <= at) row++;
      found[row] = 1;
      if (row + 1 >= starts.length) break;
    }
    return filters.set("text", (i) => found[i] === 1, `id contains “${text.trim()}”`);
  };
  page.resets.push((only) => {
    if (!only || only === "text") input.value = "";
  });
  page.idle.push(() => lower === null && prepare());
  return { element: h("div", { class: "panel" }, input), renew: () => {} };
}

function facet(page, name, label, codes, values, open) {
  const { filters } = page;
  const chosen = new Set();
  let all = false;
  let wanted = "";
  const list = h("div", { class: "values", role: "group", "aria-label": label });
  const more = h("button", { class: "link", type: "button", hidden: true, text: "Show all", on: { click: () => ((all = !all), renew()) } });
  const find = h("input", {
    type: "search",
    placeholder: `Find a ${label.toLowerCase()}`,
    "aria-label": `Find a ${label.toLowerCase()}`,
    on: { input: () => ((wanted = find.value.toLowerCase()), renew()) },
  });
  const apply = () => {
    if (!chosen.size) return filters.set(name, null);
    const keep = new Uint8Array(values.length);
    for (const code of chosen) keep[code] = 1;
    const said = [...chosen].map((code) => values[code]).join(" or ");
    return filters.set(name, (i) => keep[codes[i]] === 1, `${label.toLowerCase()}: ${said}`);
  };
  page.resets.push((only) => {
    if (!only || only === name) chosen.clear();
  });
  if (name === "basket") page.basket.listeners.push(() => (chosen.size ? apply() : renew()));
  const renew = () => {
    if (!element.open) return;
    const counts = filters.counts(name, codes, values.length);
    let order = [...values.keys()].filter((code) => page.totals(name, codes, values.length)[code] > 0);
    if (name.startsWith("facet:")) {
      const first = (a, b) => counts[b] - counts[a] || a - b;
      if (order.length <= SORTED || all || wanted) order.sort(first);
      else order = leading(order, counts, first);
    }
    if (wanted) order = order.filter((code) => values[code].toLowerCase().includes(wanted));
    const most = counts.reduce((found, number) => Math.max(found, number), 1);
    const shown = all ? order.slice(0, 300) : order.filter((code, i) => i < FIRST || chosen.has(code));
    const focused = list.contains(document.activeElement) ? document.activeElement.value : null;
    fill(
      list,
      shown.map((code) =>
        h(
          "label",
          { class: counts[code] ? "value-line" : "value-line empty" },
          h("input", {
            type: "checkbox",
            value: code,
            checked: chosen.has(code),
            on: {
              change: (event) => {
                if (event.target.checked) chosen.add(code);
                else chosen.delete(code);
                apply();
              },
            },
          }),
          h("bdi", { class: "name", text: values[code], title: values[code] }),
          h("span", { class: "many", text: count(counts[code]) }),
          h("span", { class: "meter", "aria-hidden": "true", style: { width: `${(100 * counts[code]) / most}%` } }),
        ),
      ),
    );
    if (focused !== null) list.querySelector(`input[value="${CSS.escape(focused)}"]`)?.focus();
    find.hidden = values.length <= 20;
    more.hidden = order.length <= FIRST;
    more.textContent = all ? "Show fewer" : `Show all ${count(order.length)}`;
  };
  const element = section(label, open, find, list, more);
  element.addEventListener("toggle", renew);
  return { element, renew };
}

/** The codes with the first few of them sorted: of thousands of values no more is shown. */
function leading(order, counts, first) {
  const bound = counts.slice().sort()[counts.length - 1 - FIRST];
  const front = order.filter((code) => counts[code] >= bound).sort(first);
  const rest = order.filter((code) => counts[code] < bound);
  return [...front, ...rest];
}

/** Conditions on the share of classes; all of them have to hold. */
function classShare(page) {
  const { data, filters } = page;
  const conditions = [];
  const list = h("div", { class: "conditions" });
  const pick = h(
    "select",
    { "aria-label": "Class" },
    data.head.classes.map((name, i) => h("option", { value: i, text: name })),
  );
  const least = h("input", { type: "number", min: 0, max: 100, step: "any", value: 5, "aria-label": "Least share in percent" });
  const apply = () => {
    if (!conditions.length) return filters.set("classes", null);
    // Levels are rounded roots of shares: the nearest level to the bound still counts.
    const bounds = conditions.map(({ number, share }) => [data.shares[number], share > 0 ? Math.max(1, Math.round(255 * Math.sqrt(share))) : 0]);
    const said = conditions.map(({ number, share }) => `${data.head.classes[number]} ≥ ${percent(share, share < 0.1 ? 1 : 0)}`);
    return filters.set("classes", (i) => bounds.every(([levels, bound]) => levels[i] >= bound), said.join(" and "));
  };
  const renew = () => {
    fill(
      list,
      conditions.map((condition, at) =>
        h(
          "span",
          { class: "chip strong" },
          `${data.head.classes[condition.number]} ≥ ${percent(condition.share, condition.share < 0.1 ? 1 : 0)} `,
          h("button", {
            type: "button",
            class: "cross",
            text: "×",
            "aria-label": "Remove this condition",
            on: { click: () => (conditions.splice(at, 1), apply()) },
          }),
        ),
      ),
    );
  };
  page.resets.push((only) => {
    if (!only || only === "classes") conditions.length = 0;
  });
  const form = h(
    "form",
    {
      class: "row",
      on: {
        submit: (event) => {
          event.preventDefault();
          const share = Number(least.value) / 100;
          if (!(share >= 0 && share <= 1)) return;
          const number = Number(pick.value);
          const same = conditions.findIndex((condition) => condition.number === number);
          if (same >= 0) conditions.splice(same, 1);
          conditions.push({ number, share });
          apply();
        },
      },
    },
    pick,
    h("span", { text: "≥" }),
    least,
    h("span", { text: "%" }),
    h("button", { type: "submit", text: "Add" }),
  );
  return { element: section("Share of a class", false, form, list), renew };
}

/** The line above the images: how many are kept, and by which filters. */
export function activeFilters(page) {
  const { filters, data } = page;
  const chips = [...filters.active].map(([name, said]) =>
    h(
      "span",
      { class: "chip strong", title: said },
      h("span", { class: "said", text: said }),
      h("button", {
        type: "button",
        class: "cross",
        text: "×",
        "aria-label": `Remove the filter ${said}`,
        on: { click: () => page.lift(name) },
      }),
    ),
  );
  const stacked = page.folded && page.hidden ? ` (${count(page.hidden)} near-duplicate${page.hidden > 1 ? "s" : ""} folded)` : "";
  fill(
    byId("kept"),
    h("span", { class: "kept-count" }, h("b", { text: count(filters.passed) }), ` of ${count(data.rows)} images${stacked}`),
    chips,
    chips.length > 1 && h("button", { type: "button", class: "link", text: "Clear all", on: { click: () => page.clear() } }),
  );
}
