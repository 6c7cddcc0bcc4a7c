// What the reader picks: the selection, and what was added to it or taken out, kept in the browser.

const COLUMNS = "rank,id,score,uri,region,polygon,cost,why";
const FAILED = 3; // group of rows that could not be scored
const FORMULA = /^'*[=+\-@\t\r]/;

export class Basket {
  constructor(data) {
    this.data = data;
    this.key = `deal:${data.head.key}`;
    this.state = new Uint8Array(data.rows); // 0 as selected, 1 added, 2 taken out
    this.keeps = true;
    this.listeners = [];
    this.restore();
    addEventListener("storage", ({ key }) => {
      if (key !== this.key && key !== null) return; // null: all was cleared
      this.restore();
      this.tell();
    });
  }

  has(row) {
    const state = this.state[row];
    return state === 1 || (state === 0 && this.data.columns.pick[row] > 0);
  }

  rejected(row) {
    return this.state[row] === 2;
  }

  get edited() {
    return this.state.some((value) => value !== 0);
  }

  /** Put a row in, or take it out again. */
  toggle(row) {
    const selected = this.data.columns.pick[row] > 0;
    if (this.has(row)) this.state[row] = selected ? 2 : 0;
    else this.state[row] = selected ? 0 : 1;
    this.changed();
  }

  /** Refuse a row, or no longer: it goes to rejected.csv. */
  reject(row) {
    this.state[row] = this.state[row] === 2 ? 0 : 2;
    this.changed();
  }

  /** Rows among these that may be added: no failed or rejected ones. */
  addable(rows) {
    return rows.filter((row) => this.data.group[row] !== FAILED && !this.rejected(row));
  }

  add(rows) {
    for (const row of this.addable(rows)) this.state[row] = this.data.columns.pick[row] ? 0 : 1;
    this.changed();
  }

  reset() {
    this.state.fill(0);
    this.changed();
  }

  /** Rows in it: selected ones by rank, then added ones by place. */
  rows() {
    const { pick, place } = this.data.columns;
    const found = [];
    for (let i = 0; i < this.data.rows; i++) if (this.has(i)) found.push(i);
    const last = 0x100000000;
    const key = (row) => pick[row] || last + (place[row] || last);
    return found.sort((a, b) => key(a) - key(b) || a - b);
  }

  refused() {
    const found = [];
    this.state.forEach((value, row) => value === 2 && found.push(row));
    return found;
  }

  changed() {
    this.save();
    this.tell();
  }

  tell() {
    for (const listener of this.listeners) listener();
  }

  save() {
    const ids = this.data.text("id");
    const added = [...this.others.added];
    const out = [...this.others.out];
    this.state.forEach((value, row) => value && (value === 1 ? added : out).push(ids[row]));
    try {
      if (added.length || out.length) localStorage.setItem(this.key, JSON.stringify({ added, out }));
      else localStorage.removeItem(this.key);
      this.keeps = true;
    } catch {
      this.keeps = false; // a private window, or a browser that keeps nothing for files
    }
  }

  restore() {
    this.state.fill(0);
    this.others = { added: [], out: [] }; // of the same results, but not in this page
    let kept = null;
    try {
      kept = JSON.parse(localStorage.getItem(this.key));
    } catch {
      this.keeps = false;
    }
    if (kept === null || typeof kept !== "object") return;
    const wanted = new Map();
    for (const id of kept.added || []) wanted.set(id, 1);
    for (const id of kept.out || []) wanted.set(id, 2);
    this.data.text("id").forEach((id, row) => {
      if (!wanted.has(id)) return;
      this.state[row] = wanted.get(id);
      wanted.delete(id);
    });
    for (const [id, state] of wanted) (state === 1 ? this.others.added : this.others.out).push(id);
  }

  /** Rows as a CSV file with the columns of selection.csv, which deal reads as a list of ids. */
  csv(rows) {
    const { data } = this;
    const ids = data.text("id");
    const why = data.text("why");
    const lines = rows.map((row, i) => {
      const score = data.columns.score[row];
      const cells = [String(i + 1), cell(ids[row]), Number.isNaN(score) ? "" : String(score)];
      return [...cells, cell(uriOf(data, row)), "", "", "1", cell(why[row])].join(",");
    });
    return `${[COLUMNS, ...lines].join("\n")}\n`;
  }
}

/** A cell; an apostrophe guards what a spreadsheet would run, and deal takes it off again. */
function cell(text) {
  if (!text) return "";
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function uriOf(data, row) {
  if (data.texts.uri) return data.text("uri")[row];
  return data.head.uri_prefix === null ? "" : data.head.uri_prefix + data.text("id")[row];
}
