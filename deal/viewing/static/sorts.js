// Orders of the grid, and what a card tells of each.

import { shareOf } from "./data.js";
import { count, percent, short } from "./dom.js";

/** What two rounds say of a row: lines of [name, text]. */
export function compared(data, page, row) {
  const { compare } = data.head;
  if (!compare) return [];
  const { before_place: was, before_pick: picked } = data.columns;
  const moved = page.moved[row];
  return [
    ["Before", was[row] ? `place ${count(was[row])}${picked[row] ? `, selected as #${picked[row]}` : ""}` : "not scored"],
    ["Moved", Number.isNaN(moved) ? "" : moved > 0 ? `up by ${count(moved)}` : moved < 0 ? `down by ${count(-moved)}` : "not at all"],
  ];
}

/** Orders of the grid: what to sort by, and what a card tells of it. */
export function sorts(data, page) {
  const { columns, head } = data;
  const { pick, place, score, entropy, difficulty } = columns;
  const scored = (row) => (Number.isNaN(score[row]) ? "" : `score ${short(score[row])}`);
  const number = (values, name, unit = "") => ({
    values: () => values,
    told: (row) => (Number.isNaN(values[row]) ? "" : `${name} ${short(values[row])}${unit}`),
  });
  const last = 2 ** 21; // rows that are not selected stand behind those that are
  const found = {
    rank: { name: "Rank", values: () => Float32Array.from(pick, (rank, i) => rank || last + (place[i] || last)), told: scored },
    score: { name: `Score: ${head.label}`, down: true, ...number(score, "score") },
    entropy: { name: "Entropy", down: true, ...number(entropy, "entropy", " nats") },
    time: { name: "Time", values: () => Float32Array.from(data.where), told: (row) => page.full.time(row) || scored(row) },
    id: { name: "Id", values: () => placesOf(data.text("id")), told: scored },
  };
  if (difficulty.some((value) => !Number.isNaN(value))) found.difficulty = { name: "Difficulty", down: true, ...number(difficulty, "difficulty") };
  if (head.compare) found.moved = { name: "Moved", down: true, values: () => page.moved, told: (row) => compared(data, page, row)[1]?.[1] || "new" };
  head.facets.forEach(({ name, values }, i) => {
    const codes = columns[`facet${i}`];
    const title = name.charAt(0).toUpperCase() + name.slice(1);
    found[`facet ${i}`] = { name: title, values: () => Float32Array.from(codes, (code) => code || NaN), told: (row) => values[codes[row]] };
  });
  head.classes.forEach((name, c) => {
    found[`class ${c}`] = {
      name: `Share of ${name}`,
      down: true,
      values: () => Float32Array.from({ length: data.rows }, (_, row) => shareOf(data, row, c)),
      told: (row) => `${name} ${percent(shareOf(data, row, c), 1)}`,
    };
  });
  const has = (values) => values.some((value) => !Number.isNaN(value));
  if (!has(entropy)) delete found.entropy;
  return found;
}

function placesOf(texts) {
  const order = [...texts.keys()].sort((a, b) => (texts[a] < texts[b] ? -1 : 1));
  const places = new Float32Array(texts.length);
  order.forEach((row, place) => {
    places[row] = place;
  });
  return places;
}
