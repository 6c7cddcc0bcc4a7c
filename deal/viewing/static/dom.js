// Elements without markup: every text goes in as text, never as HTML.

/** Make an element: properties by name, `on` for listeners, `style` for CSS properties. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "style") {
      for (const [key, setting] of Object.entries(value)) element.style.setProperty(key, setting);
    } else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Replace what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child || child === 0));
  return element;
}

const probes = new Map();

/** The colour that a CSS variable has now, as a canvas takes it. */
export function colour(name) {
  const theme = `${document.documentElement.dataset.theme || ""}${matchMedia("(prefers-color-scheme: dark)").matches}`;
  const key = theme + name;
  if (!probes.has(key)) {
    const probe = h("span", { hidden: true, style: { color: `var(${name})` } });
    document.body.append(probe);
    probes.set(key, getComputedStyle(probe).color);
    probe.remove();
  }
  return probes.get(key);
}

/** Prepare a canvas for its size on the screen; returns its context in CSS pixels. */
export function context(canvas, width, height) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const drawing = canvas.getContext("2d");
  drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
  drawing.clearRect(0, 0, width, height);
  return drawing;
}

const whole = new Intl.NumberFormat("en");

export function count(value) {
  return whole.format(value);
}

export function percent(share, digits = 0) {
  return `${(100 * share).toFixed(digits)} %`;
}

/** A number with as many digits as a reader needs. */
export function short(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return whole.format(Math.round(value));
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 0.001 ? value.toFixed(3) : value.toExponential(1);
}

export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = h("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Put a text on the clipboard; on pages from a file some browsers allow only the old way. */
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "away", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const before = button.textContent;
  button.textContent = "Copied";
  say("Copied");
  setTimeout(() => {
    button.textContent = before;
  }, 1500);
}

/** Tell readers of the screen what has just happened. */
export function say(text) {
  byId("said").textContent = text;
}
