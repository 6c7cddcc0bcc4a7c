// The toolbar of the grid: order, overlays, size, stacks.

import { byId, fill, h, say, short } from "./dom.js";
import { orderBy } from "./filters.js";
import { OVERLAYS, OVERLAY_NAMES } from "./pictures.js";

export function toolbar(page) {
  const { data, pictures } = page;
  const choice = byId("sort");
  fill(choice, Object.entries(page.sorts).map(([value, { name }]) => h("option", { value, text: name })));
  const orders = new Map();
  const arrow = byId("direction");
  page.sortBy = (name, descending = Boolean(page.sorts[name].down)) => {
    const key = `${name} ${descending}`;
    if (!orders.has(key)) orders.set(key, orderBy(page.sorts[name].values(), descending));
    Object.assign(page, { sort: name, descending, order: orders.get(key) });
    choice.value = name;
    arrow.textContent = descending ? "↓" : "↑";
    arrow.setAttribute("aria-label", descending ? "Greatest first" : "Least first");
    page.show();
  };
  choice.addEventListener("change", () => page.sortBy(choice.value));
  arrow.addEventListener("click", () => page.sortBy(page.sort, !page.descending));
  byId("fold").checked = page.folded;
  byId("fold-label").hidden = data.members.size === 0;
  byId("fold").addEventListener("change", (event) => {
    page.folded = event.target.checked;
    page.show();
  });
  byId("size").addEventListener("input", (event) => {
    page.size = Number(event.target.value);
    page.grid.layout();
  });
  const switches = [byId("overlays"), byId("full-overlays")];
  page.setOverlay = (overlay) => {
    page.overlay = overlay;
    for (const element of switches) {
      for (const button of element.children) button.setAttribute("aria-pressed", String(button.value === overlay));
    }
    page.grid.renew();
    legendOf(page);
    if (page.full.dialog.open) page.full.draw();
    say(`Overlay: ${OVERLAY_NAMES[overlay]}`);
  };
  const available = OVERLAYS.filter((overlay) => overlay === "none" || pictures.has[overlay]);
  page.overlays = available;
  for (const element of switches) {
    fill(
      element,
      OVERLAYS.map((value) => {
        const missing = !available.includes(value);
        return h("button", {
          type: "button",
          value,
          text: OVERLAY_NAMES[value],
          disabled: missing,
          title: missing ? data.head.no_maps : null,
          "aria-pressed": String(value === "none"),
          on: { click: () => page.setOverlay(value) },
        });
      }),
    );
  }
  byId("no-maps").hidden = available.length > 1;
  byId("no-maps").textContent = data.head.no_maps;
  for (const slider of [byId("opacity"), byId("full-opacity")]) {
    slider.value = page.opacity;
    slider.addEventListener("input", () => {
      page.opacity = Number(slider.value);
      byId("opacity").value = byId("full-opacity").value = slider.value;
      page.grid.renew();
      if (page.full.dialog.open) page.full.draw();
    });
  }
  legendOf(page);
}

/** What the colours of the overlay mean, beside the switch. */
function legendOf(page) {
  const { data, pictures, overlay } = page;
  const stops = Array.from({ length: 10 }, (_, i) => pictures.rampText(i / 9)).join(", ");
  const ramp = (top, unit) => [h("span", { class: "ramp", style: { background: `linear-gradient(to right, ${stops})` } }), ` ${short(top)}${unit}`];
  const items = {
    none: () => [],
    difficulty: () => [h("span", { class: "key" }, "0 ", ramp(data.head.tops.difficulty, ""))],
    entropy: () => [h("span", { class: "key" }, "0 ", ramp(data.head.tops.entropy, " nats"))],
    classes: () =>
      data.head.classes.map((name, i) => {
        const ink = `rgb(${data.head.palette[i].join(" ")})`;
        return data.head.class_shares[i] > 0 && h("span", { class: "key" }, h("span", { class: "swatch", style: { background: ink } }), h("bdi", { text: name }));
      }),
    regions: () => [h("span", { class: "key" }, h("span", { class: "swatch outline" }), "regions that carry the score")],
  }[overlay]();
  fill(byId("overlay-key"), items);
  byId("opacity-label").hidden = overlay === "none" || overlay === "regions";
  fill(byId("full-key"), overlay === "classes" ? [] : [...byId("overlay-key").childNodes].map((node) => node.cloneNode(true)));
}
