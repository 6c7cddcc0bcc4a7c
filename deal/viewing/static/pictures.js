// Pictures of rows and the maps that lie over them.

export const KINDS = ["thumbnail", "preview", "classes", "difficulty", "entropy"];
export const OVERLAYS = ["none", "difficulty", "entropy", "classes", "regions"];
export const OVERLAY_NAMES = {
  none: "None",
  difficulty: "Difficulty",
  entropy: "Entropy",
  classes: "Classes",
  regions: "Hardest regions",
};

const KEPT = 600; // decoded pictures; the browser's own memory is the limit on phones

export class Pictures {
  constructor(data) {
    this.data = data;
    this.text = document.getElementById("images").textContent;
    const { blob_row: rows, blob_kind: kinds } = data.columns;
    this.index = new Map();
    rows.forEach((row, i) => this.index.set(row * KINDS.length + kinds[i], i));
    this.decoded = new Map();
    this.painted = new Map();
    this.regions = new Map(Object.entries(data.head.regions).map(([row, list]) => [Number(row), list]));
    this.only = -1; // the one class that is painted, or −1
    this.has = Object.fromEntries(KINDS.map((kind, i) => [kind, kinds.includes(i)]));
    this.has.regions = this.regions.size > 0;
    this.ramp = data.head.ramp.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  }

  found(row, kind) {
    return this.index.get(row * KINDS.length + KINDS.indexOf(kind));
  }

  /** Whether there is something to see of a row. */
  shows(row) {
    return (this.data.head.token && this.data.group[row] !== 3) || this.found(row, "thumbnail") !== undefined;
  }

  /** Whether a row has what an overlay needs. */
  overlays(row, overlay) {
    return overlay === "regions" ? this.regions.has(row) : this.found(row, overlay) !== undefined;
  }

  blob(at) {
    const start = this.data.columns.blob_start[at];
    const base64 = this.text.substring(start, start + this.data.columns.blob_chars[at]);
    const raw = atob(base64);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Blob([bytes], { type: "image/webp" });
  }

  /** A picture, decoded; null if there is none. */
  picture(row, kind) {
    const key = row * KINDS.length + KINDS.indexOf(kind);
    if (!this.decoded.has(key)) {
      if (this.decoded.size >= KEPT) this.decoded.delete(this.decoded.keys().next().value);
      const at = this.index.get(key);
      this.decoded.set(key, at === undefined ? this.fetched(row, kind) : createImageBitmap(this.blob(at)));
    }
    return this.decoded.get(key);
  }

  /** A picture from the server that `--serve` started; null on a page that stands alone. */
  async fetched(row, kind) {
    const { token } = this.data.head;
    if (!token || this.data.group[row] === 3 || (kind !== "thumbnail" && kind !== "preview")) return null;
    const image = new Image();
    image.src = `/${token}/${kind}/${row}`;
    try {
      await image.decode();
      return image;
    } catch {
      return null;
    }
  }

  /** A map in its colours, as a canvas; null if there is none. */
  async map(row, overlay) {
    const key = `${row} ${overlay} ${overlay === "classes" ? this.only : ""}`;
    if (!this.painted.has(key)) {
      if (this.painted.size >= KEPT) this.painted.delete(this.painted.keys().next().value);
      this.painted.set(key, this.paint(row, overlay));
    }
    return this.painted.get(key);
  }

  async paint(row, overlay) {
    const bitmap = await this.picture(row, overlay);
    if (!bitmap) return null;
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const drawing = canvas.getContext("2d", { willReadFrequently: true });
    drawing.drawImage(bitmap, 0, 0);
    const pixels = drawing.getImageData(0, 0, canvas.width, canvas.height);
    const words = new Uint32Array(pixels.data.buffer);
    const table = overlay === "classes" ? this.classColours() : this.rampColours();
    for (let i = 0; i < words.length; i++) words[i] = table[words[i] & 255];
    drawing.putImageData(pixels, 0, 0);
    return canvas;
  }

  /** The class at a place of the picture, x and y in 0…1; −1 where it is void or unknown. */
  async classAt(row, x, y) {
    const bitmap = await this.picture(row, "classes");
    if (!bitmap) return -1;
    const canvas = new OffscreenCanvas(1, 1);
    const drawing = canvas.getContext("2d", { willReadFrequently: true });
    drawing.drawImage(bitmap, -Math.floor(x * bitmap.width), -Math.floor(y * bitmap.height));
    return drawing.getImageData(0, 0, 1, 1).data[0] - 1;
  }

  classColours() {
    const table = new Uint32Array(256);
    this.data.head.palette.forEach(([red, green, blue], i) => {
      if (this.only < 0 || this.only === i) table[i + 1] = word(red, green, blue, 255);
    });
    return table;
  }

  rampColours() {
    const table = new Uint32Array(256);
    for (let level = 0; level < 256; level++) table[level] = word(...this.rampAt(level / 255), 255);
    return table;
  }

  /** Colour [red, green, blue] of 0…1 on the ramp. */
  rampAt(value) {
    const at = Math.min(Math.max(value, 0), 1) * (this.ramp.length - 1);
    const low = Math.min(Math.floor(at), this.ramp.length - 2);
    return this.ramp[low].map((channel, i) => Math.round(channel + (at - low) * (this.ramp[low + 1][i] - channel)));
  }

  rampText(value) {
    return `rgb(${this.rampAt(value).join(" ")})`;
  }

  /** Draw a row into a box of a context: the picture, and the overlay over it. */
  async draw(drawing, row, kind, box, overlay, opacity) {
    let picture = await this.picture(row, kind);
    if (!picture && kind === "preview") picture = await this.picture(row, "thumbnail");
    if (!picture) return false;
    const place = fitted(picture.width, picture.height, box);
    const map = overlay === "none" || overlay === "regions" ? null : await this.map(row, overlay);
    drawing.imageSmoothingQuality = "high";
    drawing.drawImage(picture, place.x, place.y, place.width, place.height);
    if (map) {
      drawing.save();
      drawing.globalAlpha = opacity;
      drawing.imageSmoothingEnabled = overlay !== "classes";
      drawing.drawImage(map, place.x, place.y, place.width, place.height);
      drawing.restore();
    }
    if (overlay === "regions") this.outline(drawing, row, place);
    return place;
  }

  /** Outline the regions that carry the score: dark under light, so it is seen on any picture. */
  outline(drawing, row, place) {
    for (const [width, ink] of [[4, "rgb(0 0 0 / 75%)"], [2, "#ffd166"]]) {
      drawing.lineWidth = width;
      drawing.strokeStyle = ink;
      drawing.lineJoin = "round";
      for (const polygon of this.regions.get(row) || []) {
        drawing.beginPath();
        for (let i = 0; i < polygon.length; i += 2) {
          drawing.lineTo(place.x + polygon[i] * place.width, place.y + polygon[i + 1] * place.height);
        }
        drawing.closePath();
        drawing.stroke();
      }
    }
  }
}

/** The largest box of the picture's shape inside a box, in its middle. */
export function fitted(width, height, box) {
  const scale = Math.min(box.width / width, box.height / height);
  const size = { width: width * scale, height: height * scale };
  return { x: box.x + (box.width - size.width) / 2, y: box.y + (box.height - size.height) / 2, ...size };
}

const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

function word(red, green, blue, alpha) {
  const bytes = little ? [alpha, blue, green, red] : [red, green, blue, alpha];
  return ((bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3]) >>> 0;
}
