// The head of the page: what was selected how, tiles, the command to copy, notes; the theme.

import { byId, count, fill, h } from "./dom.js";
import { command } from "./tables.js";

export function headOfPage(page) {
  const { head } = page.data;
  document.title = head.title;
  byId("title").textContent = head.title;
  byId("story").textContent = head.story;
  byId("story").hidden = !head.story;
  byId("subtitle").textContent = head.subtitle;
  fill(
    byId("tiles"),
    head.tiles.map(([value, name, note]) => h("div", { class: "tile", title: note || null }, h("b", { text: typeof value === "number" ? count(value) : value }), h("span", { text: name }))),
  );
  fill(
    byId("facts"),
    head.facts.map(([name, value]) => [h("dt", { text: name }), h("dd", {}, h("bdi", { text: value }))]),
  );
  byId("command").replaceWith(command(head.command));
  const notes = byId("notes");
  fill(notes, head.notes.map((text) => h("li", { text })));
  notes.hidden = !head.notes.length;
}

const THEMES = ["auto", "light", "dark"];
const KEY = "deal:theme";

/** The button that changes the theme; `changed` draws anew what has colours of its own. */
export function themes(changed) {
  const button = byId("theme");
  let theme = "auto";
  try {
    theme = localStorage.getItem(KEY) || "auto";
  } catch {
    // the theme is then the system's
  }
  const apply = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[theme];
    button.setAttribute("aria-label", `Theme: ${theme}`);
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // it lasts until the page is closed
    }
    apply();
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  if (!THEMES.includes(theme)) theme = "auto";
  apply();
}
