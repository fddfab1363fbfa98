// The time line of a picture. Everything that it draws came from servers that may lie: it becomes text on a canvas, or
// the text of an element, and nothing else.
"use strict";

const find = (id) => document.getElementById(id);
const scene = JSON.parse(find("scene").textContent);
const stage = document.querySelector(".stage");
const canvas = stage.querySelector("canvas");
const pen = canvas.getContext("2d");
const SECOND = 1e5; // units of time in a second
const AXIS = 26, FLAGS = 24, HEAD = AXIS + FLAGS, PAD = 12, SHOWN = 400;
const FONT = "12px system-ui, sans-serif", SMALL = "11px system-ui, sans-serif", MONO = "11px ui-monospace, Menlo, Consolas, monospace";
const HUES = { in_progress: "run", ending: "run", completed: "good", failed: "bad", rejected: "bad", lost: "bad", expired: "bad",
  cancelled: "odd", uncertain: "warn", submitting: "warn", pending: "wait" };
const SIGNS = { completed: "✓", failed: "✕", rejected: "✕", lost: "?", expired: "?", cancelled: "–" };
const GRAVE = { error: "bad", warning: "warn", note: "soft" };
let hue = {}, size = { width: 0, height: 0, gutter: 0 }, rows = [], total = 0, chosen = null;

// what is drawn, as values

scene.flags = scene.flags.map(([at, lines, code, severity, text, task]) => ({ at, lines, code: scene.texts[code], severity: scene.texts[severity], text: scene.texts[text], task }));
for (const task of scene.tasks) for (const move of task.moves) move[3] = scene.texts[move[3]];
scene.frames.forEach((frame, n) => { if (n) { frame[1] += scene.frames[n - 1][1]; frame[2] += scene.frames[n - 1][2]; } }); // told as differences
scene.exchanges.forEach((each, n) => {
  if (n) { each[1] += scene.exchanges[n - 1][1]; each[2] += scene.exchanges[n - 1][2]; }
  if (each[3] >= 0) { each[3] += each[1]; each[4] += each[2]; }
});
const entries = []; // each line: when, which, in which lane, what it says, about which task
const add = (at, line, lane, word, task, of, n) => at >= 0 && line >= 0 && entries.push({ at, line, lane, word, task, of, n });
scene.frames.forEach(([lane, at, line, word, task, grave], n) => add(at, line, lane, scene.texts[word], task, grave ? "grave" : "frame", n));
scene.exchanges.forEach(([lane, asked, line, answered, last, word, answer, good, task], n) => {
  add(asked, line, lane, scene.texts[word], task, "request", n);
  add(answered, last, lane, `${scene.texts[answer]} to ${scene.texts[word]}`, task, "answer", n);
});
scene.spans.forEach(([lane, opened, closed, line, last, word], n) => {
  add(opened, line, lane, "socket opened", -1, "span", n);
  add(closed, last, lane, scene.texts[word], -1, "span", n);
});
entries.sort((a, b) => a.at - b.at || a.line - b.line);
const byLine = new Map(entries.map((entry, i) => [entry.line, i]));
for (const flag of scene.flags) flag.at = entries[byLine.get(flag.lines[0])]?.at ?? flag.at; // what it cites is seen first
const inLane = scene.lanes.map(() => []);
entries.forEach((entry, i) => inLane[entry.lane].push(i));
scene.tasks.forEach((task, n) => {
  task.n = n;
  task.from = task.moves[0]?.[0] ?? Math.max(0, task.end);
  task.to = task.settled >= 0 ? Math.max(task.settled, task.end) : scene.length;
  task.why = new Map(task.moves.map(([, line, seen, state, why]) => [line, `${state}: ${scene.texts[why]}`]));
});
const hits = new Map(); // of an exchange, the tasks that it acted on
for (const [exchange, task] of scene.acts) hits.set(exchange, [...(hits.get(exchange) ?? []), task]);

// time: what is idle takes as much room as a notch needs, so that bursts of milliseconds are seen

const idle = scene.gaps.reduce((sum, [from, to]) => sum + to - from, 0);
const busy = Math.max(scene.length - idle, 1);
const NOTCH = scene.gaps.length ? Math.min(busy * 0.04, (busy * 0.35) / scene.gaps.length) : 0;
const steps = [[0, 0]]; // time, and place
for (const [from, to] of scene.gaps) {
  const place = steps.at(-1)[1] + from - steps.at(-1)[0];
  steps.push([from, place], [to, place + NOTCH]);
}
const LENGTH = steps.at(-1)[1] + Math.max(scene.length - steps.at(-1)[0], 1);
const ROOM = LENGTH * 0.015;
let view = { from: -ROOM, to: LENGTH + ROOM };

function between(value, from, to) {
  let low = 0, high = steps.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (steps[middle][from] <= value) low = middle;
    else high = middle - 1;
  }
  const [a, b] = [steps[low], steps[low + 1]];
  const share = b && b[from] > a[from] ? (value - a[from]) / (b[from] - a[from]) : null;
  return share === null ? a[to] + value - a[from] : a[to] + share * (b[to] - a[to]);
}
const placeOf = (time) => between(time, 0, 1);
const timeOf = (place) => between(place, 1, 0);
const scale = () => (size.width - size.gutter - PAD) / (view.to - view.from);
const x = (time) => size.gutter + (placeOf(time) - view.from) * scale();
const moment = (time, digits = 3) => `+${(time / SECOND).toFixed(digits)} s`;
const seconds = (units) => (units < 120 * SECOND ? `${(units / SECOND).toFixed(0)} s` : units < 7200 * SECOND ? `${Math.round(units / SECOND / 60)} min` : `${(units / SECOND / 3600).toFixed(1)} h`);

// rows: of each window its lanes, then its tasks, packed side by side

function nameOf(lane) {
  const kind = { socket: "socket", http: "HTTP", client: "application" }[lane.kind];
  return [lane.window || "no window", lane.server ? `${kind} ${lane.server}` : kind];
}

function layOut() {
  rows = [];
  let y = 4;
  const row = (kind, height, told) => { rows.push({ kind, y, height, ...told }); y += height; };
  const narrow = size.gutter === 0 ? 13 : 0;
  const windows = [...new Set([...scene.lanes.map((lane) => lane.window), ...scene.tasks.map((task) => task.window)])];
  for (const name of windows) {
    const rank = { socket: 0, http: 1, client: 2 };
    const lanes = scene.lanes.map((lane, n) => ({ ...lane, n })).filter((lane) => lane.window === name);
    lanes.sort((a, b) => rank[a.kind] - rank[b.kind] || a.server.localeCompare(b.server));
    for (const lane of lanes) row(lane.kind, (lane.kind === "http" ? 34 : 26) + narrow, { lane: lane.n, label: nameOf(lane), top: narrow });
    const ends = [];
    const first = rows.length;
    for (const task of scene.tasks.filter((task) => task.window === name).sort((a, b) => a.from - b.from)) {
      let at = ends.findIndex((end) => end < placeOf(task.from));
      if (at < 0) at = ends.push(0) - 1;
      ends[at] = placeOf(task.to) + LENGTH * 0.006;
      if (!rows[first + at]) row("tasks", 22, { tasks: [], label: at ? null : ["", "tasks"] });
      rows[first + at].tasks.push(task);
    }
    y += 10;
  }
  total = y;
}

// drawing

function arrow(x0, y0, x1, y1, colour, dash = []) {
  const angle = Math.atan2(y1 - y0, x1 - x0);
  pen.strokeStyle = pen.fillStyle = colour;
  pen.setLineDash(dash);
  pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x1, y1); pen.stroke();
  pen.setLineDash([]);
  pen.beginPath(); pen.moveTo(x1, y1);
  for (const turn of [2.7, -2.7]) pen.lineTo(x1 + 6 * Math.cos(angle + turn), y1 + 6 * Math.sin(angle + turn));
  pen.fill();
}

function write(text, left, y, colour, { font = FONT, width = Infinity, align = "left" } = {}) {
  pen.font = font; pen.fillStyle = colour; pen.textAlign = align; pen.textBaseline = "middle";
  if (pen.measureText(text).width > width) {
    while (text && pen.measureText(`${text}…`).width > width) text = text.slice(0, -1);
    if (!text) return;
    text += "…";
  }
  pen.fillText(text, left, y);
}

const visible = (from, to) => to >= size.gutter - 20 && from <= size.width + 20;
const isOn = (entry) => chosen !== null && chosen.lines.has(entry.line);

function drawSocket(row, y) {
  const top = y + row.top + 7, height = row.height - row.top - 14;
  for (const [lane, opened, closed, , , word] of scene.spans) {
    if (lane !== row.lane) continue;
    const left = Math.max(x(Math.max(opened, 0)), size.gutter), right = closed < 0 ? size.width : x(closed);
    if (!visible(left, right)) continue;
    pen.fillStyle = hue.open; pen.fillRect(left, top, Math.max(right - left, 1), height);
    if (closed >= 0) write("✕", right, top + height / 2, /1000|1001/.test(scene.texts[word]) ? hue.soft : hue.bad, { align: "center" });
  }
  let last = -9;
  for (const i of inLane[row.lane]) {
    const entry = entries[i], left = x(entry.at);
    if (entry.of === "span" || !visible(left, left)) continue;
    const on = isOn(entry);
    if (left - last < 0.7 && !on && entry.of !== "grave") continue;
    last = left;
    pen.fillStyle = on ? hue.warn : entry.of === "grave" ? hue.ink : hue.soft;
    const more = on ? 4 : entry.of === "grave" ? 2 : 0;
    pen.fillRect(left - (on ? 1 : 0.5), top - more, on ? 2.5 : 1, height + 2 * more);
  }
}

function drawHttp(row, y) {
  const top = y + row.top + 5, bottom = y + row.height - 6;
  scene.exchanges.forEach(([lane, asked, line, answered, last, , , good], n) => {
    if (lane !== row.lane) return;
    const left = x(asked), right = answered < 0 ? left + 14 : x(answered);
    if (!visible(left, right)) return;
    const on = chosen !== null && (chosen.lines.has(line) || chosen.lines.has(last));
    pen.lineWidth = on ? 2.5 : 1.2;
    arrow(left, top, Math.max(right, left + 1), bottom, on ? hue.warn : answered < 0 || !good ? hue.bad : hue.accent, answered < 0 ? [3, 3] : []);
    if (answered < 0) write("✕", right + 6, bottom - 2, hue.bad, { align: "center" });
    if (hits.has(n)) { pen.fillStyle = hue.odd; pen.beginPath(); pen.arc(left, top, 3.5, 0, 7); pen.fill(); }
  });
}

function drawClient(row, y) {
  for (const i of inLane[row.lane]) {
    const entry = entries[i], left = x(entry.at), middle = y + row.top + (row.height - row.top) / 2;
    if (!visible(left, left)) continue;
    pen.fillStyle = isOn(entry) ? hue.warn : hue.accent;
    pen.beginPath(); pen.moveTo(left - 4, middle + 4); pen.lineTo(left + 4, middle + 4); pen.lineTo(left, middle - 5); pen.fill();
  }
}

function drawTask(task, y) {
  const top = y + 3, height = 16, on = chosen?.task === task.n;
  const left = x(task.from), right = Math.max(x(task.to), left + 3);
  task.y = y;
  if (!visible(left, right)) return;
  task.moves.forEach(([at, , , state], n) => {
    const from = x(at), to = n + 1 < task.moves.length ? x(task.moves[n + 1][0]) : right;
    pen.globalAlpha = state === "ending" ? 0.55 : state === "pending" ? 0.6 : 1;
    pen.fillStyle = hue[HUES[state]] ?? hue.wait;
    if (to > from) pen.fillRect(from, top, to - from, height);
    pen.globalAlpha = 1;
  });
  pen.lineWidth = on ? 2.5 : 1;
  pen.strokeStyle = on ? hue.warn : hue[HUES[task.state]] ?? hue.wait;
  pen.strokeRect(left, top, right - left, height);
  const start = Math.max(left, size.gutter);
  const label = task.tag ? `${task.task} ${task.tag}` : task.task;
  if (right - start > 60) {
    pen.font = MONO;
    const width = Math.min(pen.measureText(label).width + 8, right - start - 16);
    pen.fillStyle = hue.card; pen.globalAlpha = 0.85; pen.fillRect(start + 3, top + 2, width, height - 4); pen.globalAlpha = 1;
    write(label, start + 6, top + height / 2, hue.ink, { font: MONO, width: width - 6 });
  }
  if (task.settled >= 0) {
    const end = x(Math.max(task.end, 0)), middle = top + height / 2;
    pen.fillStyle = hue.card; pen.strokeStyle = hue[HUES[task.state]]; pen.lineWidth = 2;
    pen.beginPath();
    for (const [dx, dy] of [[0, -9], [8, 0], [0, 9], [-8, 0]]) pen.lineTo(end + dx, middle + dy);
    pen.closePath(); pen.fill(); pen.stroke();
    write(SIGNS[task.state] ?? "", end, middle + 0.5, hue[HUES[task.state]], { align: "center", font: "bold 10px system-ui, sans-serif" });
  }
}

function drawActs(offset) {
  for (const [n, hit] of scene.acts) {
    const [lane, asked] = scene.exchanges[n], task = scene.tasks[hit], row = rows.find((row) => row.lane === lane && row.kind === "http");
    if (!row || task.y === undefined) continue;
    const y0 = row.y - offset + HEAD + row.top + 5, y1 = task.y + 11, left = x(asked);
    if (!visible(left, left)) continue;
    pen.lineWidth = 1.8;
    const to = Math.min(Math.max(left + 14, x(task.from)), Math.max(x(task.to), x(task.from)));
    arrow(left, y0, to, y1 - Math.sign(y1 - y0) * 9, hue.odd);
  }
}

function drawFlags() {
  scene.flags.forEach((flag, n) => {
    const left = x(flag.at);
    if (!visible(left, left)) return;
    const on = chosen?.flag === n;
    pen.fillStyle = pen.strokeStyle = on ? hue.ink : hue[GRAVE[flag.severity]];
    pen.lineWidth = on ? 2 : 1;
    pen.beginPath(); pen.moveTo(left, AXIS + 3); pen.lineTo(left, on ? size.height : HEAD); pen.stroke();
    pen.beginPath();
    if (flag.severity === "error") for (const [dx, dy] of [[0, 0], [13, 5], [0, 11]]) pen.lineTo(left + dx, AXIS + 3 + dy);
    else if (flag.severity === "warning") pen.rect(left, AXIS + 3, 10, 9);
    else pen.arc(left + 3.5, AXIS + 7, 3.5, 0, 7);
    pen.fill();
  });
}

function drawAxis() {
  pen.fillStyle = hue.card; pen.fillRect(0, 0, size.width, HEAD);
  pen.strokeStyle = hue.line; pen.lineWidth = 1;
  pen.beginPath(); pen.moveTo(0, AXIS + 0.5); pen.lineTo(size.width, AXIS + 0.5); pen.moveTo(0, HEAD + 0.5); pen.lineTo(size.width, HEAD + 0.5); pen.stroke();
  const step = 120 / scale(), digits = step < 0.02 * SECOND ? 4 : step < 0.2 * SECOND ? 3 : step < 2 * SECOND ? 2 : 1;
  for (let place = Math.ceil(view.from / step) * step; place < view.to; place += step) {
    const time = timeOf(place), left = x(time);
    if (time < 0 || time > scene.length || left > size.width - 60 || scene.gaps.some(([from, to]) => x(to) > left - 24 && x(from) < left + 70)) continue;
    pen.fillStyle = hue.soft; pen.fillRect(left, AXIS - 5, 1, 5);
    write(moment(time, digits), left + 3, AXIS / 2, hue.soft);
  }
}

function drawGaps() {
  for (const [from, to] of scene.gaps) {
    const left = x(from), right = x(to);
    if (!visible(left, right)) continue;
    pen.fillStyle = hue.gap; pen.fillRect(left, HEAD, right - left, size.height - HEAD);
    pen.strokeStyle = hue.line; pen.lineWidth = 1.5;
    for (const edge of [left, right]) {
      pen.beginPath();
      for (let y = HEAD; y < size.height; y += 6) pen.lineTo(edge + ((y / 6) % 2 < 1 ? -1.5 : 1.5), y);
      pen.stroke();
    }
  }
}

function drawIdle() {
  for (const [from, to] of scene.gaps)
    if (x(to) - x(from) > 26 && visible(x(from), x(to))) write(seconds(to - from), (x(from) + x(to)) / 2, AXIS / 2, hue.soft, { align: "center" });
}

function drawLabels(offset) {
  if (size.gutter) { pen.fillStyle = hue.card; pen.fillRect(0, HEAD, size.gutter - 4, size.height - HEAD); }
  for (const row of rows) {
    const y = row.y - offset + HEAD;
    if (!row.label || y + row.height < HEAD || y > size.height) continue;
    const [window, lane] = row.label;
    if (!size.gutter) { if (row.lane !== undefined) write(`${window} ${lane}`, 4, y + 7, hue.soft, { font: SMALL, width: size.width - 8 }); continue; }
    if (window && row.kind === "socket") {
      write(window, 8, y + 8, hue.ink, { font: MONO, width: size.gutter - 18 });
      write(lane, 8, y + 20, hue.soft, { font: SMALL, width: size.gutter - 18 });
    } else write(lane, 8, y + row.height / 2, hue.soft, { font: SMALL, width: size.gutter - 18 });
  }
  pen.fillStyle = hue.card; pen.fillRect(0, 0, size.gutter - 4, HEAD);
}

const DRAW = { socket: drawSocket, http: drawHttp, client: drawClient };
let waiting = false;

function draw() {
  waiting = false;
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ground", "card", "line", "ink", "soft", "accent", "good", "bad", "warn", "run", "odd", "wait", "band", "open", "gap"])
    hue[name] = style.getPropertyValue(`--${name}`).trim();
  const offset = stage.scrollTop;
  pen.fillStyle = hue.card; pen.fillRect(0, 0, size.width, size.height);
  for (const row of rows) {
    if (row.kind !== "tasks") { pen.fillStyle = hue.band; pen.fillRect(size.gutter, row.y - offset + HEAD + row.top, size.width, row.height - row.top - 2); }
  }
  drawGaps();
  for (const task of scene.tasks) delete task.y;
  for (const row of rows) {
    const y = row.y - offset + HEAD;
    if (y + row.height < HEAD - 60 || y > size.height + 60) continue;
    if (row.kind === "tasks") row.tasks.forEach((task) => drawTask(task, y));
    else DRAW[row.kind](row, y);
  }
  drawActs(offset);
  drawLabels(offset);
  drawAxis();
  pen.save(); pen.beginPath(); pen.rect(size.gutter, 0, size.width, size.height); pen.clip();
  drawIdle();
  drawFlags();
  pen.restore();
  if (size.gutter) { write("time", 8, AXIS / 2, hue.soft, { font: SMALL }); write("findings", 8, AXIS + FLAGS / 2, hue.soft, { font: SMALL }); }
}

function redraw() {
  if (!waiting) { waiting = true; requestAnimationFrame(draw); }
}
