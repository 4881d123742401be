// A strip on a canvas: pan, zoom, tiles of a pyramid, boxes. Places are samples and lines of it.
const TILE = 256;
const MOST_TILES = 240;
const MOST_SHOTS = 120;

export class Viewer {
  /** `told`: id, lines, samples, boxes, colours, looked. `heard`: pick(box), drawn(box). */
  constructor(canvas, told, heard) {
    Object.assign(this, { canvas, told, heard, pyramid: null, chosen: null, own: null, drawing: false });
    this.shows = () => true;
    this.pictures = new Map();
    this.pointers = new Map();
    this.quick = told.looked ? this.picture(`/swath/${told.id}/quick-look`) : null;
    this.wide = this.tall = 0;
    new ResizeObserver(() => this.resized()).observe(canvas);
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this[name](event));
    }
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
  }

  resized() {
    const { clientWidth: wide, clientHeight: tall } = this.canvas;
    if (!wide || !tall) return;
    const first = !this.wide;
    Object.assign(this, { wide, tall, dots: Math.min(devicePixelRatio || 1, 2) });
    this.canvas.width = wide * this.dots;
    this.canvas.height = tall * this.dots;
    if (first) this.fit(); else this.move(0, 0);
    if (first && this.wanted) this.show(this.wanted);
  }

  fit() {
    this.scale = Math.min(this.wide / this.told.samples, this.tall / this.told.lines);
    this.left = (this.told.samples - this.wide / this.scale) / 2;
    this.top = (this.told.lines - this.tall / this.scale) / 2;
    this.redraw();
  }

  zoom(factor, x = this.wide / 2, y = this.tall / 2) {
    const least = Math.min(this.wide / this.told.samples, this.tall / this.told.lines) / 2;
    const scale = Math.min(Math.max(this.scale * factor, least), 16);
    this.left += x / this.scale - x / scale;
    this.top += y / this.scale - y / scale;
    this.scale = scale;
    this.move(0, 0);
  }

  /** Move by so many pixels of the screen; some of the strip stays in sight. */
  move(x, y) {
    const slack = 40 / this.scale;
    const within = (at, seen, all) => Math.min(Math.max(at, slack - seen), all - slack);
    this.left = within(this.left + x / this.scale, this.wide / this.scale, this.told.samples);
    this.top = within(this.top + y / this.scale, this.tall / this.scale, this.told.lines);
    this.redraw();
  }

  /** Bring a box to the middle, with its surroundings. */
  show(box) {
    this.wanted = box;
    if (!this.wide) return;
    this.scale = Math.min(this.wide / box.samples, this.tall / box.lines, 12) / 3;
    this.left = box.sample + box.samples / 2 - this.wide / this.scale / 2;
    this.top = box.line + box.lines / 2 - this.tall / this.scale / 2;
    this.move(0, 0);
  }

  /** The middle half of what is seen, as a box. */
  middle() {
    const [wide, tall] = [this.wide / this.scale, this.tall / this.scale];
    return this.clipped(this.left + wide / 4, this.top + tall / 4, this.left + wide * 0.75, this.top + tall * 0.75);
  }

  clipped(x0, y0, x1, y1) {
    const within = (at, all) => Math.round(Math.min(Math.max(at, 0), all));
    const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)].map((at) => within(at, this.told.samples));
    const [top, low] = [Math.min(y0, y1), Math.max(y0, y1)].map((at) => within(at, this.told.lines));
    return { sample: left, line: top, samples: right - left, lines: low - top };
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    return { x, y, sample: this.left + x / this.scale, line: this.top + y / this.scale };
  }

  pointerdown(event) {
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.place(event);
    this.pointers.set(event.pointerId, at);
    this.moved = this.pointers.size > 1;
    this.begun = this.drawing || event.shiftKey ? at : null;
  }

  pointermove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const at = this.place(event);
    if (Math.hypot(at.x - before.x, at.y - before.y) < 3 && !this.moved) return;
    this.moved = true;
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, p]) => p);
      const far = (p) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
      this.zoom(far(at) / far(before), other.x, other.y);
    } else if (this.begun) {
      this.own = this.clipped(this.begun.sample, this.begun.line, at.sample, at.line);
      this.redraw();
    } else this.move(before.x - at.x, before.y - at.y);
    this.pointers.set(event.pointerId, this.place(event));
  }

  pointerup(event) {
    const at = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    if (!at) return;
    if (this.begun && this.own && this.moved) this.heard.drawn(this.own);
    else if (!this.moved) this.heard.pick(this.under(at));
    this.begun = null;
  }

  pointercancel(event) {
    this.pointers.delete(event.pointerId);
  }

  /** The smallest box under a place. */
  under({ sample, line }) {
    const hit = (b) => this.shows(b) && sample >= b.sample && sample < b.sample + b.samples
      && line >= b.line && line < b.line + b.lines;
    const size = (b) => b.samples * b.lines;
    return this.told.boxes.filter(hit).sort((a, b) => size(a) - size(b))[0] ?? null;
  }

  /** A picture once it has come; the longest unused are forgotten. */
  picture(address, most = MOST_TILES + MOST_SHOTS) {
    let made = this.pictures.get(address);
    this.pictures.delete(address);
    if (!made) {
      made = new Image();
      made.onload = () => this.redraw();
      made.src = address;
    }
    this.pictures.set(address, made);
    if (this.pictures.size > most) {
      const [oldest, gone] = this.pictures.entries().next().value;
      this.pictures.delete(oldest);
      gone.onload = null;
      if (!gone.complete) gone.src = ""; // nobody waits for it any more
    }
    return made;
  }

  redraw() {
    if (this.due || !this.wide) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      this.draw();
    });
  }

  draw() {
    const ink = this.canvas.getContext("2d");
    ink.setTransform(this.dots, 0, 0, this.dots, 0, 0);
    ink.fillStyle = getComputedStyle(this.canvas).getPropertyValue("background-color");
    ink.fillRect(0, 0, this.wide, this.tall);
    ink.setTransform(this.dots * this.scale, 0, 0, this.dots * this.scale, -this.left * this.scale * this.dots, -this.top * this.scale * this.dots);
    ink.fillStyle = "#777";
    ink.fillRect(0, 0, this.told.samples, this.told.lines);
    if (this.quick?.complete && this.quick.naturalWidth) ink.drawImage(this.quick, 0, 0, this.told.samples, this.told.lines);
    if (this.pyramid) this.drawTiles(ink); else this.drawShots(ink);
    this.drawBoxes(ink);
  }

  drawTiles(ink) {
    const finest = Math.floor(Math.log2(1 / (this.scale * this.dots)));
    let level = Math.min(Math.max(finest, 0), this.pyramid.levels - 1);
    // More tiles than are held would be fetched again with every frame.
    while (level < this.pyramid.levels - 1 && this.seen(level) > MOST_TILES) level++;
    for (const at of new Set([this.pyramid.levels - 1, level])) this.drawLevel(ink, at);
  }

  /** How many tiles of a level are in sight, at the most. */
  seen(level) {
    const side = TILE * 2 ** level * this.scale;
    return (Math.ceil(this.wide / side) + 1) * (Math.ceil(this.tall / side) + 1);
  }

  drawLevel(ink, level) {
    const side = TILE * 2 ** level;
    const last = (seen, all) => Math.min(Math.ceil(seen / side), Math.ceil(all / side));
    for (let row = Math.max(0, Math.floor(this.top / side)); row < last(this.top + this.tall / this.scale, this.told.lines); row++) {
      for (let column = Math.max(0, Math.floor(this.left / side)); column < last(this.left + this.wide / this.scale, this.told.samples); column++) {
        const tile = this.picture(`/swath/${this.told.id}/zoom/${level}/${row}/${column}`);
        if (!tile.complete || !tile.naturalWidth) continue;
        ink.drawImage(tile, column * side, row * side, tile.naturalWidth * 2 ** level, tile.naturalHeight * 2 ** level);
      }
    }
  }

  /** Where the strip is not here, the pictures of detections in sight lie on the quick look. */
  drawShots(ink) {
    const [right, low] = [this.left + this.wide / this.scale, this.top + this.tall / this.scale];
    const seen = this.told.boxes.filter((b) => b.pictured && this.shows(b) && b.samples * this.scale > 24
      && b.sample < right && b.line < low && b.sample + b.samples > this.left && b.line + b.lines > this.top);
    for (const b of seen.slice(0, MOST_SHOTS).reverse()) {
      const shot = this.picture(`/tile/${b.id}/picture`);
      if (shot.complete && shot.naturalWidth) ink.drawImage(shot, b.sample, b.line, b.samples, b.lines);
    }
  }

  drawBoxes(ink) {
    const stroke = (b, colour, wide) => {
      // A dark rim keeps every colour apart from light ground.
      for (const [ruled, width] of [["rgb(0 0 0 / .6)", wide + 2], [colour, wide]]) {
        ink.strokeStyle = ruled;
        ink.lineWidth = width / this.scale;
        ink.strokeRect(b.sample, b.line, b.samples, b.lines);
      }
    };
    for (const b of this.told.boxes) if (this.shows(b) && b !== this.chosen) stroke(b, this.told.colours[b.class], 1.5);
    if (this.chosen) stroke(this.chosen, this.told.colours[this.chosen.class], 5);
    if (!this.own) return;
    ink.setLineDash([8 / this.scale, 5 / this.scale]);
    stroke(this.own, "#fff", 3);
    ink.setLineDash([]);
  }
}
