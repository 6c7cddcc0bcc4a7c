// What is printed: the first images as they are filtered.

import { reasons } from "./data.js";
import { byId, count, fill, h } from "./dom.js";
import { placeText } from "./grid.js";

const PRINTED = 60;

let waiting = 0;

/** Prepare the sheet when nothing else happens: a browser that prints waits for nothing. */
export function later(page) {
  clearTimeout(waiting);
  waiting = setTimeout(() => (window.requestIdleCallback || setTimeout)(() => printed(page)), 400);
}

function printed(page) {
  const { data, pictures } = page;
  const rows = [...page.grid.rows.subarray(0, PRINTED)];
  fill(
    byId("paper"),
    h("h2", { text: rows.length < page.grid.rows.length ? `The first ${count(rows.length)} of ${count(page.grid.rows.length)} images` : `${count(rows.length)} images` }),
    h(
      "div",
      { class: "sheet" },
      rows.map((row) => {
        const canvas = h("canvas");
        const width = 220;
        const height = Math.round(width * data.head.shape);
        pictures.draw(doubled(canvas, width, height), row, "thumbnail", { x: 0, y: 0, width, height }, page.overlay, page.opacity);
        return h(
          "figure",
          {},
          canvas,
          h("figcaption", {}, h("b", { text: page.grid.rankText(row) }), ` ${placeText(data, row)} `, h("bdi", { text: data.text("id")[row] }), h("span", { text: reasons(data, row).join(", ") })),
        );
      }),
    ),
  );
}

function doubled(canvas, width, height) {
  canvas.width = 2 * width;
  canvas.height = 2 * height;
  const drawing = canvas.getContext("2d");
  drawing.scale(2, 2);
  return drawing;
}
