// What is selected, by pointer, keyboard or button, and the lines of it below the time line.

function select(what, { reveal = true } = {}) {
  chosen = what && { entry: null, task: null, flag: null, ...what, lines: new Set() };
  const shown = chosen ? linesOf(chosen) : [];
  if (chosen) chosen.lines = new Set(shown.filter((each) => each.chosen).map((each) => each.entry.line));
  tell(shown);
  for (const row of document.querySelectorAll("tr[data-task]")) row.classList.toggle("chosen", chosen !== null && Number(row.dataset.task) === chosen.task);
  if (chosen && reveal) show(chosen);
  redraw();
}

function linesOf({ entry, task, flag }) {
  if (task !== null) return entries.filter((each) => each.task === task || scene.tasks[task].why.has(each.line)).map((each) => ({ entry: each, chosen: true }));
  if (flag !== null) {
    const cited = scene.flags[flag].lines.map((line) => byLine.get(line)).filter((i) => i !== undefined);
    return around(cited);
  }
  const one = entries[entry];
  const same = one.of === "request" || one.of === "answer" ? entries.flatMap((each, i) => (each.n === one.n && (each.of === "request" || each.of === "answer") ? [i] : [])) : [entry];
  return around(same);
}

function around(numbers) {
  const wanted = new Set();
  for (const i of numbers) for (let near = i - 4; near <= i + 4; near++) if (entries[near]) wanted.add(near);
  return [...wanted].sort((a, b) => a - b).map((i) => ({ entry: entries[i], chosen: numbers.includes(i) }));
}

function titleOf({ entry, task, flag }) {
  if (task !== null) return `Task ${scene.tasks[task].id}: ${scene.tasks[task].state}`;
  if (flag !== null) return `${scene.flags[flag].severity} ${scene.flags[flag].code}: ${scene.flags[flag].text}`;
  return `Line ${cite(entries[entry].line)}`;
}

const cite = (line) => (scene.files.length === 1 ? `${line}` : `${Math.floor(line / scene.files.length)} of ${scene.files[line % scene.files.length]}`);

function tell(shown) {
  find("said").textContent = chosen ? titleOf(chosen) : "Lines";
  find("lines").replaceChildren(...shown.slice(0, SHOWN).map(({ entry, chosen: marked }) => {
    const item = document.createElement("li");
    const lane = scene.lanes[entry.lane];
    const why = entry.task >= 0 ? scene.tasks[entry.task].why.get(entry.line) : undefined;
    for (const text of [cite(entry.line), moment(entry.at), `${lane.window} ${lane.server}`, entry.word]) item.append(Object.assign(document.createElement("span"), { textContent: text }));
    if (why) item.append(Object.assign(document.createElement("span"), { className: "why", textContent: why }));
    item.classList.toggle("chosen", marked && chosen.task === null);
    return item;
  }));
  const left = shown.length - SHOWN;
  find("more").textContent = !chosen ? "Select a task, a line, an exchange or a finding to see its lines here."
    : left > 0 ? `and ${left.toLocaleString("en")} more lines` : shown.length ? "" : "Its lines are not among those that are drawn.";
  const list = find("lines"), marked = list.querySelector(".chosen"); // the page itself stays where it is
  list.scrollTop = marked ? marked.offsetTop - list.offsetTop - list.clientHeight / 2 : 0;
}

// the view: what of the time is seen, and from which height on

function show({ entry, task, flag }) {
  const at = entry !== null ? entries[entry].at : flag !== null ? scene.flags[flag].at : Math.max(scene.tasks[task].end, scene.tasks[task].from);
  const place = placeOf(at), width = view.to - view.from;
  if (place < view.from + width * 0.04 || place > view.to - width * 0.04) look(place - width / 2, place + width / 2);
  const lane = entry !== null ? entries[entry].lane : flag !== null ? entries[byLine.get(scene.flags[flag].lines[0])]?.lane : null;
  const about = task ?? (flag !== null && scene.flags[flag].task >= 0 ? scene.flags[flag].task : null);
  const row = rows.find((row) => (about !== null ? row.tasks?.some((each) => each.n === about) : lane !== null && row.lane === lane));
  if (row && (row.y < stage.scrollTop || row.y + row.height > stage.scrollTop + size.height - HEAD)) stage.scrollTop = row.y - (size.height - HEAD) / 2;
}

function look(from, to) {
  const most = LENGTH + 2 * ROOM, width = Math.min(Math.max(to - from, 20), most);
  const middle = (from + to) / 2;
  const start = Math.min(Math.max(middle - width / 2, -ROOM), LENGTH + ROOM - width);
  view = { from: start, to: start + width };
  redraw();
}

function zoom(factor, place = (view.from + view.to) / 2) {
  look(place - (place - view.from) * factor, place + (view.to - place) * factor);
}

function step(by) {
  if (!entries.length) return;
  const from = chosen?.entry ?? (chosen?.lines.size ? byLine.get([...chosen.lines][0]) : by > 0 ? -1 : entries.length);
  select({ entry: Math.min(Math.max(from + by, 0), entries.length - 1) });
}

function stepTask(by) {
  if (scene.tasks.length) select({ task: Math.min(Math.max((chosen?.task ?? (by > 0 ? -1 : scene.tasks.length)) + by, 0), scene.tasks.length - 1) });
}

function stepFlag(by) {
  if (!scene.flags.length) return;
  const from = chosen?.flag ?? (by > 0 ? -1 : scene.flags.length);
  select({ flag: (from + by + scene.flags.length) % scene.flags.length });
}

const DO = { in: () => zoom(0.5), out: () => zoom(2), fit: () => look(-ROOM, LENGTH + ROOM), before: () => stepFlag(-1), after: () => stepFlag(1) };
const KEYS = { "+": DO.in, "=": DO.in, "-": DO.out, "−": DO.out, 0: DO.fit, n: DO.after, p: DO.before, ArrowRight: () => step(1), ArrowLeft: () => step(-1),
  ArrowDown: () => stepTask(1), ArrowUp: () => stepTask(-1), Home: () => step(-Infinity), End: () => step(Infinity), Escape: () => select(null) };

canvas.addEventListener("keydown", (event) => {
  const act = KEYS[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
});
for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => DO[button.dataset.do]());
for (const button of document.querySelectorAll("button[data-task]")) button.addEventListener("click", () => { select({ task: Number(button.dataset.task) }); stage.scrollIntoView({ block: "center" }); });
for (const button of document.querySelectorAll("button[data-flag]")) button.addEventListener("click", () => { select({ flag: Number(button.dataset.flag) }); stage.scrollIntoView({ block: "center" }); });

// the pointer: drag to move, pinch or Ctrl and the wheel to zoom, click to select

const pointers = new Map();
let dragged = false;
canvas.addEventListener("pointerdown", (event) => { pointers.set(event.pointerId, event.offsetX); dragged = false; });
canvas.addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId)) return;
  const before = [...pointers.values()], last = pointers.get(event.pointerId);
  if (pointers.size === 1 && !dragged && Math.abs(event.offsetX - last) < 5) return;
  if (!dragged) canvas.setPointerCapture(event.pointerId);
  dragged = true;
  pointers.set(event.pointerId, event.offsetX);
  if (pointers.size === 1) look(view.from - (event.offsetX - last) / scale(), view.to - (event.offsetX - last) / scale());
  else {
    const after = [...pointers.values()];
    const middle = view.from + ((after[0] + after[1]) / 2 - size.gutter) / scale();
    zoom(Math.abs(before[0] - before[1]) / Math.max(Math.abs(after[0] - after[1]), 1), middle);
  }
});
for (const over of ["pointerup", "pointercancel"]) canvas.addEventListener(over, (event) => pointers.delete(event.pointerId));
canvas.addEventListener("wheel", (event) => {
  const sideways = event.shiftKey ? event.deltaY : event.deltaX;
  if (!event.ctrlKey && !event.metaKey && !sideways) return;
  event.preventDefault();
  if (event.ctrlKey || event.metaKey) zoom(Math.exp(event.deltaY / 300), view.from + (event.offsetX - size.gutter) / scale());
  else look(view.from + sideways / scale(), view.to + sideways / scale());
}, { passive: false });
canvas.addEventListener("dblclick", (event) => zoom(0.4, view.from + (event.offsetX - size.gutter) / scale()));
canvas.addEventListener("click", (event) => { if (!dragged) select(hit(event.offsetX, event.offsetY), { reveal: false }); });

function hit(left, top) {
  const nearest = (all, distance, limit) => all.reduce((best, each) => (distance(each) < best[1] ? [each, distance(each)] : best), [null, limit])[0];
  const flags = scene.flags.map((flag, n) => n);
  if (top < HEAD) {
    const flag = nearest(flags, (n) => Math.abs(x(scene.flags[n].at) + 4 - left), 12);
    return flag === null ? null : { flag };
  }
  const y = top - HEAD + stage.scrollTop, row = rows.find((row) => y >= row.y && y < row.y + row.height);
  if (!row) return null;
  if (row.kind === "tasks") {
    const task = row.tasks.find((task) => left >= x(task.from) - 9 && left <= Math.max(x(task.to), x(task.from) + 3) + 9);
    return task ? { task: task.n } : null;
  }
  const entry = nearest(inLane[row.lane], (i) => Math.abs(x(entries[i].at) - left), 14);
  return entry === null ? null : { entry };
}

// size, colours, paper

function fit() {
  const ratio = window.devicePixelRatio || 1, width = stage.clientWidth;
  size.gutter = width > 640 ? 190 : 0;
  size.width = width;
  layOut();
  size.height = Math.min(total + HEAD + 6, document.documentElement.dataset.print === undefined ? Math.max(window.innerHeight * 0.7 - 2, 240) : Infinity);
  canvas.style.height = `${size.height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(size.height * ratio);
  stage.querySelector(".rest").style.height = `${total + HEAD + 6}px`;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  draw();
}

new ResizeObserver(() => stage.clientWidth !== size.width && fit()).observe(stage);
stage.addEventListener("scroll", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
window.addEventListener("beforeprint", () => { document.documentElement.dataset.print = ""; fit(); });
window.addEventListener("afterprint", () => { delete document.documentElement.dataset.print; fit(); });
fit();
