// The columns of the page: base64 → inflated → typed arrays.

const TYPES = {
  u1: Uint8Array,
  u2: Uint16Array,
  u4: Uint32Array,
  i4: Int32Array,
  f4: Float32Array,
  f8: Float64Array,
};

export function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

/** Read the head and all columns; texts become arrays of strings when they are first asked for. */
export async function load() {
  const head = JSON.parse(document.getElementById("head").textContent);
  const buffer = await inflate(bytesOf(document.getElementById("columns").textContent));
  const columns = {};
  const texts = {};
  for (const [name, column] of Object.entries(head.columns)) {
    if (column.type === "text") texts[name] = column;
    else columns[name] = new TYPES[column.type](buffer, column.offset, column.count);
  }
  const split = {};
  const text = (name) => {
    if (split[name] === undefined) {
      const { offset, bytes, separator, count } = texts[name];
      const joined = new TextDecoder().decode(new Uint8Array(buffer, offset, bytes));
      split[name] = count ? joined.split(separator) : [];
    }
    return split[name];
  };
  const rows = head.rows;
  const classes = head.classes.length;
  const shares = [];
  for (let c = 0; c < classes; c++) shares.push(columns.share.subarray(c * rows, (c + 1) * rows));
  return { head, columns, texts, text, rows, shares, ...derived(head, columns, rows) };
}

/** What the page needs beside the stored columns. */
function derived(head, columns, rows) {
  const { pick, status } = columns;
  const group = new Uint8Array(rows);
  const groups = ["selected", "not selected", "near-duplicate", "failed", "skipped"];
  const of = { ok: 1, error: 3, duplicate: 2, skipped: 4 };
  const byStatus = Uint8Array.from(head.statuses, (name) => of[name]);
  for (let i = 0; i < rows; i++) group[i] = pick[i] ? 0 : byStatus[status[i]];
  const members = new Map();
  for (let i = 0; i < rows; i++) {
    const leader = columns.stack[i];
    if (leader) {
      if (!members.has(leader - 1)) members.set(leader - 1, []);
      members.get(leader - 1).push(i);
    }
  }
  const where = new Uint32Array(rows);
  columns.along.forEach((row, i) => {
    where[row] = i;
  });
  return { group, groups, members, where };
}

/** Share of a class, 0…1; it is stored as the rounded square root. */
export function shareOf(data, row, number) {
  const level = data.shares[number][row] / 255;
  return level * level;
}

/** Share of the scored images, 0…1, that score lower; NaN without a score. */
export function percentile(data, row) {
  const place = data.columns.place[row];
  return place ? (data.head.scored - place) / data.head.scored : NaN;
}

/** Up to three [class, share in percent] that carry most of the score. */
export function carriers(data, row) {
  const codes = data.columns.codes;
  const found = [];
  if (codes) {
    for (let i = 6 * row; i < 6 * row + 6; i += 2) if (codes[i + 1]) found.push([codes[i], codes[i + 1]]);
  }
  return found;
}

/** Texts of the chips: why the row scores as it does. */
export function reasons(data, row) {
  const own = data.text("why")[row];
  if (own) return own.split(", ");
  const { opening } = data.head.why;
  return carriers(data, row).map(([number, share], i) => `${i ? "" : opening}${data.head.classes[number]} ${share} %`);
}
