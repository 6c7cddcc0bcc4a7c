// The grid of images: only the cards that are on the screen exist.

import { context, count, h, percent, say, short } from "./dom.js";
import { percentile, reasons } from "./data.js";

const GAP = 12;
const CAPTION = 88;
const SPARE = 2; // rows of cards above and below the screen

export class Grid {
  /** `page` has data, pictures, basket and the choices of the toolbar; `open` shows a row in full. */
  constructor(element, page) {
    this.element = element;
    this.page = page;
    this.rows = new Uint32Array(0);
    this.cards = new Map(); // index in rows → card
    this.current = 0;
    this.drawn = 0;
    element.addEventListener("focusin", (event) => {
      const card = event.target.closest("[data-index]");
      if (card) this.mark(Number(card.dataset.index));
    });
    addEventListener("scroll", () => this.paint(), { passive: true });
    new ResizeObserver(() => this.layout()).observe(element);
  }

  /** Show these rows, in this order. */
  show(rows) {
    const at = rows.indexOf(this.rows[this.current]);
    this.rows = rows;
    this.current = Math.max(at, 0);
    this.renew();
  }

  /** Draw every card anew. */
  renew() {
    for (const card of this.cards.values()) card.remove();
    this.cards.clear();
    this.drawn++;
    this.layout();
  }

  layout() {
    const width = this.element.clientWidth;
    if (!width) return;
    const least = Math.min(this.page.size, (width - GAP) / 2);
    this.columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
    this.cardWidth = Math.floor((width - GAP * (this.columns - 1)) / this.columns);
    this.frameHeight = Math.round(this.cardWidth * this.page.data.head.shape);
    const height = this.frameHeight + CAPTION;
    const changed = height !== this.cardHeight || width !== this.width;
    this.cardHeight = height;
    this.width = width;
    const lines = Math.ceil(this.rows.length / this.columns);
    this.element.style.height = `${Math.max(lines * (height + GAP) - GAP, 0)}px`;
    if (changed) {
      for (const card of this.cards.values()) card.remove();
      this.cards.clear();
    }
    this.paint();
  }

  paint() {
    if (!this.columns || this.element.offsetParent === null) return;
    const top = -this.element.getBoundingClientRect().top;
    const step = this.cardHeight + GAP;
    const first = Math.max(Math.floor(top / step) - SPARE, 0) * this.columns;
    const last = Math.min((Math.ceil((top + innerHeight) / step) + SPARE) * this.columns, this.rows.length);
    for (const [index, card] of this.cards) {
      if ((index < first || index >= last) && !card.contains(document.activeElement)) {
        card.remove();
        this.cards.delete(index);
      }
    }
    for (let index = first; index < last; index++) {
      if (!this.cards.has(index)) {
        const card = this.card(index);
        this.cards.set(index, card);
        this.insert(card, index);
      }
    }
  }

  /** Cards stand in the document in their order, for the Tab key and for readers of the screen. */
  insert(card, index) {
    let next = null;
    for (const other of this.element.children) {
      if (Number(other.dataset.index) > index) {
        next = other;
        break;
      }
    }
    this.element.insertBefore(card, next);
  }

  card(index) {
    const { page } = this;
    const row = this.rows[index];
    const { pick } = page.data.columns;
    const id = page.data.text("id")[row];
    const canvas = h("canvas", { "aria-hidden": "true" });
    const stack = page.folded ? page.data.members.get(row) : undefined;
    const frame = h(
      "div",
      { class: "frame", style: { height: `${this.frameHeight}px` } },
      canvas,
      h("span", { class: pick[row] ? "rank picked" : "rank", text: this.rankText(row) }),
      h("span", { class: "place", text: placeText(page.data, row), title: placeTitle(page.data, row) }),
      stack &&
        h("button", {
          class: "stack",
          type: "button",
          tabindex: "-1",
          text: `+${count(stack.length)} alike`,
          title: "Show the near-duplicates of this image",
          on: { click: (event) => (event.stopPropagation(), page.unfold(row)) },
        }),
    );
    const hold = h("button", {
      class: "hold",
      type: "button",
      tabindex: "-1",
      on: { click: (event) => (event.stopPropagation(), page.basket.toggle(row)) },
    });
    const chips = reasons(page.data, row).map((text) => h("span", { class: "chip", text, title: text }));
    const value = page.sortValue(row);
    const card = h(
      "div",
      {
        class: "card",
        role: "listitem",
        "data-index": index,
        "data-row": row,
        tabindex: index === this.current ? "0" : "-1",
        "aria-posinset": index + 1,
        "aria-setsize": this.rows.length,
        style: {
          width: `${this.cardWidth}px`,
          height: `${this.cardHeight}px`,
          transform: `translate(${(index % this.columns) * (this.cardWidth + GAP)}px, ${Math.floor(index / this.columns) * (this.cardHeight + GAP)}px)`,
        },
        on: { click: () => this.opened(index), dblclick: (event) => event.preventDefault() },
      },
      frame,
      h(
        "div",
        { class: "caption" },
        h("div", { class: "line" }, h("div", { class: "named" }, h("bdi", { class: "id", text: id, title: id }), h("span", { class: "value", text: value })), hold),
        h("div", { class: "chips" }, chips),
      ),
    );
    this.state(card, row);
    this.picture(canvas, frame, row);
    return card;
  }

  rankText(row) {
    const rank = this.page.data.columns.pick[row];
    if (rank) return `#${count(rank)}`;
    const { group } = this.page.data;
    return group[row] === 1 ? `place ${count(this.page.data.columns.place[row]) || "–"}` : this.page.data.groups[group[row]];
  }

  async picture(canvas, frame, row) {
    const { page } = this;
    const time = this.drawn;
    if (!page.pictures.shows(row)) {
      frame.append(h("span", { class: "none", text: page.absence(row) }));
      return;
    }
    const drawing = context(canvas, this.cardWidth, this.frameHeight);
    const box = { x: 0, y: 0, width: this.cardWidth, height: this.frameHeight };
    const kind = this.cardWidth > 420 ? "preview" : "thumbnail";
    const done = await page.pictures.draw(drawing, row, kind, box, page.overlay, page.opacity);
    if (!done && time === this.drawn) frame.append(h("span", { class: "none", text: "cannot be read" }));
    else if (page.overlay !== "none" && !page.pictures.overlays(row, page.overlay)) {
      frame.append(h("span", { class: "missing", text: `no ${page.overlay} stored` }));
    }
  }

  /** What the basket changes on a card. */
  state(card, row) {
    const { basket, data } = this.page;
    const held = basket.has(row);
    const hold = card.querySelector(".hold");
    card.classList.toggle("held", held);
    card.classList.toggle("refused", basket.rejected(row));
    hold.textContent = held ? "✓" : "+";
    hold.setAttribute("aria-pressed", String(held));
    hold.setAttribute("aria-label", held ? "In the basket" : "Put into the basket");
    hold.title = held ? "In the basket: take it out (s)" : "Put into the basket (s)";
    const where = held ? "in the basket" : basket.rejected(row) ? "rejected" : "not in the basket";
    card.setAttribute(
      "aria-label",
      `${this.rankText(row)}, ${data.text("id")[row]}, score ${short(data.columns.score[row])}, ${where}`,
    );
  }

  refresh() {
    for (const [index, card] of this.cards) this.state(card, this.rows[index]);
  }

  mark(index) {
    const before = this.cards.get(this.current);
    if (before) before.tabIndex = -1;
    this.current = index;
    const card = this.cards.get(index);
    if (card) card.tabIndex = 0;
  }

  get row() {
    return this.rows[this.current];
  }

  /** Go to a card, scroll to it and give it the focus. */
  go(index, focus = true) {
    if (!this.rows.length) return;
    this.mark(Math.min(Math.max(index, 0), this.rows.length - 1));
    const top = this.element.getBoundingClientRect().top + scrollY;
    const y = top + Math.floor(this.current / this.columns) * (this.cardHeight + GAP);
    const head = this.page.headroom();
    if (y - head < scrollY) scrollTo({ top: y - head - GAP });
    else if (y + this.cardHeight > scrollY + innerHeight) scrollTo({ top: y + this.cardHeight - innerHeight + GAP });
    this.paint();
    const card = this.cards.get(this.current);
    this.mark(this.current);
    if (focus && card) card.focus({ preventScroll: true });
  }

  opened(index) {
    this.mark(index);
    this.page.open(this.rows[index]);
  }

  /** Answer a key; true if it was one of the grid's. */
  key(event) {
    const steps = {
      j: 1,
      k: -1,
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: this.columns,
      ArrowUp: -this.columns,
      PageDown: this.columns * 3,
      PageUp: -this.columns * 3,
      Home: -this.rows.length,
      End: this.rows.length,
    };
    if (!this.rows.length) return false;
    const inside = this.element.contains(document.activeElement);
    if (event.key in steps && (inside || event.key === "j" || event.key === "k")) {
      this.go(inside ? this.current + steps[event.key] : this.current);
    } else if (event.key === "Enter" && inside && event.target.closest(".card") === event.target) {
      this.page.open(this.row);
    } else if (event.key === "s" || event.key === "x") {
      const { basket } = this.page;
      if (event.key === "s") basket.toggle(this.row);
      else basket.reject(this.row);
      say(basket.has(this.row) ? "In the basket" : basket.rejected(this.row) ? "Rejected" : "Not in the basket");
    } else return false;
    return true;
  }
}

/** "99.8 %" with what it means as a title. */
export function placeText(data, row) {
  const share = percentile(data, row);
  if (Number.isNaN(share)) return "";
  const digits = share >= 0.99 ? (data.head.scored > 1000 ? 2 : 1) : share < 0.1 ? 1 : 0;
  const step = 10 ** (digits + 2);
  return percent(Math.floor(share * step + 1e-9) / step, digits); // down: only the best could be 100 %
}

export function placeTitle(data, row) {
  const share = percentile(data, row);
  if (Number.isNaN(share)) return "";
  return `scores higher than ${percent(share, 1)} of ${count(data.head.scored)} scored images`;
}
