// The page of a log. Everything it shows came from servers that may lie: it becomes text, and nothing else.
"use strict";

const SILENT = 15_000; // milliseconds without a word, heartbeats included, after which the feed is opened anew
const find = (id) => document.getElementById(id);
const state = { head: null, codes: {}, tables: {}, offset: 0, quiet: 600, heard: 0, paused: false };
let source = null;

// time

function now() {
  const time = Date.now() / 1000 + state.offset;
  const end = state.head?.at ?? time;
  return time >= end && time - end <= state.quiet && state.head?.written !== false ? time : end;
}

function span(seconds) {
  if (!Number.isFinite(seconds)) return "";
  seconds = Math.max(0, seconds);
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([size]) => seconds >= 2 * size || size === 1);
  return `${Math.floor(seconds / size).toLocaleString("en")} ${unit}`;
}

// elements

function make(name, classes = "", text = "") {
  const element = document.createElement(name);
  if (classes) element.className = classes;
  if (text !== "") element.textContent = text;
  return element;
}

function word(text, label = text) {
  const element = make("span", "word", label);
  element.dataset.word = text;
  return element;
}

function age(at, from = null) {
  const element = make("time");
  if (at === null) return element;
  element.dataset.at = at;
  if (from !== null) element.dataset.until = from;
  tick(element);
  return element;
}

function tick(element) {
  const until = element.dataset.until === undefined ? now() : Number(element.dataset.until);
  const text = span(until - Number(element.dataset.at));
  if (element.textContent !== text) element.textContent = text;
}

// ids, shortened as far as they stay unique

function shortest(ids) {
  const known = new Set(ids.filter((id) => id !== null));
  let length = 8;
  while (length < 40 && new Set([...known].map((id) => id.slice(0, length))).size < known.size) length += 4;
  return length;
}

function name(id, length) {
  const element = make("span", "id", id === null ? "(no id)" : id.slice(0, length));
  if (id !== null) element.title = id;
  return element;
}

const host = (url) => url.replace(/^https?:\/\//, "");
const task = (id) => name(id, state.tables.tasks.length);
const windowed = (id) => (id === null ? "" : name(id, state.tables.windows.length));
const count = (number) => (number === null ? "" : number.toLocaleString("en"));

function progress(row) {
  const cell = document.createDocumentFragment();
  if (row.share !== null) {
    const bar = make("progress");
    bar.value = row.share;
    bar.setAttribute("aria-label", "progress of the node");
    cell.append(bar, make("span", "", `${Math.round(row.share * 100)} %`));
  }
  if (row.node !== null) cell.append(" ", make("span", "soft node", `node ${row.node}`));
  return cell;
}

// of a task that ended: what went wrong, or how sure its end is; and what the application attached to it

function reason(row) {
  return make("span", row.error === null ? "soft" : "reason", row.error ?? row.confidence ?? "");
}

function lamp(row) {
  const cell = document.createDocumentFragment();
  cell.append(word(row.lamp, row.standing ? `${row.lamp}, ${row.standing}` : row.lamp));
  if (row.trouble !== null) cell.append(make("span", "trouble", row.trouble));
  return cell;
}

function tagged(row) {
  const cell = document.createDocumentFragment();
  const link = make("a", "open");
  link.href = `#task-${row.number}`;
  link.append(task(row.prompt_id));
  cell.append(link);
  if (row.tag !== null) cell.append(make("span", "tag", row.tag));
  return cell;
}

// tables: a column is its title, its classes, how a row fills it, and what it is sorted by

const settled = new Set(["completed", "failed", "cancelled", "rejected", "lost", "expired"]);
const took = (row) => (row.begun_at === null ? null : (settled.has(row.state) ? row.ended_at ?? now() : now()) - row.begun_at);
const COLUMNS = {
  tasks: [
    ["State", "short", (row) => word(row.state), (row) => row.state],
    ["Task", "short", tagged, (row) => row.prompt_id],
    ["Window", "short aside", (row) => windowed(row.window), (row) => row.window],
    ["Server", "short aside", (row) => host(row.server), (row) => row.server],
    ["Took", "short number", (row) => age(row.begun_at, settled.has(row.state) ? row.ended_at : null), took],
    ["Ended", "short number narrow", (row) => (settled.has(row.state) && row.ended_at !== null ? ago(row.ended_at) : ""),
      (row) => (settled.has(row.state) ? row.ended_at : null)],
    ["Progress", "text", (row) => (settled.has(row.state) ? reason(row) : progress(row)), (row) => row.error ?? row.share ?? null],
  ],
  servers: [
    ["Server", "text", (row) => host(row.url), (row) => row.url],
    ["", "text", lamp],
    ["Queue", "number", (row) => count(row.queue), (row) => row.queue],
    ["Tasks", "number", (row) => count(row.open), (row) => row.open],
    ["Sockets", "number narrow", (row) => count(row.sockets), (row) => row.sockets],
    ["Heard", "short number narrow", (row) => ago(row.seen_at), (row) => row.seen_at],
  ],
  windows: [
    ["Window", "short", (row) => windowed(row.window), (row) => row.window],
    ["Server", "text", (row) => host(row.server), (row) => row.server],
    ["Socket", "short", (row) => word(row.socket), (row) => row.socket],
    ["Tasks", "number", (row) => count(row.open), (row) => row.open],
    ["Heard", "short number narrow", (row) => ago(row.heard_at), (row) => row.heard_at],
  ],
};

// the order of rows: that in which they come, what needs a look first; or by a column, up, then down

const sorting = {}; // by table: the number of the column, and 1 or -1

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || b === null) return a === null ? 1 : -1;
  return (typeof a === typeof b ? a < b : typeof a < typeof b) ? -1 : 1;
}

function arranged(table) {
  const { order, rows } = state.tables[table];
  if (!sorting[table]) return order;
  const [column, way] = sorting[table];
  const key = COLUMNS[table][column][3];
  return [...order].sort((a, b) => way * compare(key(rows.get(a)), key(rows.get(b))));
}

function sortBy(table, column) {
  const [sorted, way] = sorting[table] ?? [];
  if (sorted !== column) sorting[table] = [column, 1];
  else if (way === 1) sorting[table] = [column, -1];
  else delete sorting[table];
  document.querySelectorAll(`[data-table="${table}"] thead th`).forEach((cell, index) => {
    const chosen = sorting[table]?.[0] === index ? sorting[table][1] : 0;
    if (chosen) cell.setAttribute("aria-sort", chosen > 0 ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  });
  if (state.tables[table]) draw(table);
}

function ago(at) {
  const element = make("span");
  if (at !== null) element.append(age(at), " ago");
  return element;
}

function fillRow(element, table, row) {
  element.replaceChildren(
    ...COLUMNS[table].map(([, classes, fill], index) => {
      const cell = make(index ? "td" : "th", classes);
      if (!index) cell.scope = "row";
      cell.append(fill(row));
      return cell;
    }),
  );
}

// findings: one card for each code, so that the advice stands once; its newest subjects are named

const NAMED = 5;

function card(element, code, rows) {
  const [severity, meaning, advice] = state.codes[code] ?? ["note", "", ""];
  const all = state.head.codes[code] ?? rows.length;
  element.dataset.word = severity;
  const line = make("div", "line");
  line.append(word(severity), make("code", "", code), make("span", "soft", all > 1 ? `${count(all)} of them` : ""));
  const subjects = make("ul", "about");
  subjects.append(...rows.slice(0, NAMED).map(subject));
  if (all > NAMED) subjects.append(make("li", "", `and ${count(all - Math.min(rows.length, NAMED))} more`));
  element.replaceChildren(line, make("p", "", meaning), make("p", "advice", advice), subjects);
}

function subject(row) {
  const item = make("li");
  if (row.prompt_id !== null) item.append("task ", task(row.prompt_id), ": ");
  else if (row.window !== null) item.append("window ", windowed(row.window), ": ");
  else if (row.server !== null) item.append(`${host(row.server)}: `);
  const times = row.count > 1 ? `, ${count(row.count)} times` : "";
  item.append(`${row.text}${times}, `, ago(row.at), ` at position ${count(row.position)}`);
  return item;
}

function drawFindings() {
  const known = state.tables.findings;
  const place = document.querySelector('[data-table="findings"]');
  const groups = new Map();
  for (const number of known.order) {
    const row = known.rows.get(number);
    if (!groups.has(row.code)) groups.set(row.code, []);
    groups.get(row.code).push(row);
  }
  for (const [code, element] of known.elements) {
    if (groups.has(code)) continue;
    element.remove();
    known.elements.delete(code);
  }
  [...groups].forEach(([code, rows], index) => {
    if (!known.elements.has(code)) known.elements.set(code, make("li"));
    const element = known.elements.get(code);
    card(element, code, rows);
    if (place.children[index] !== element) place.insertBefore(element, place.children[index] ?? null);
  });
  fitting(place, "findings", known.order.length);
}

function body(table) {
  const place = document.querySelector(`[data-table="${table}"]`);
  if (!place.tBodies.length) {
    const row = place.createTHead().insertRow();
    COLUMNS[table].forEach(([title, classes, , key], index) => {
      const cell = make("th", classes, key ? "" : title);
      cell.scope = "col";
      if (key) {
        const button = make("button", "sort", title);
        button.type = "button";
        button.addEventListener("click", () => sortBy(table, index));
        cell.append(button);
      }
      row.append(cell);
    });
    place.createTBody();
  }
  return place.tBodies[0];
}

function change(table, { order, rows }) {
  const known = (state.tables[table] ??= { rows: new Map(), elements: new Map(), length: 8 });
  for (const number of order) if (String(number) in rows) known.rows.set(number, rows[number]);
  const wanted = new Set(order);
  for (const number of [...known.rows.keys()]) if (!wanted.has(number)) known.rows.delete(number);
  known.order = order;
  known.changed = new Set([...(known.changed ?? []), ...Object.keys(rows).map(Number)]);
}

function draw(table) {
  const known = state.tables[table];
  const place = body(table);
  const ids = [...known.rows.values()].map((row) => (table === "windows" ? row.window : row.prompt_id ?? null));
  const length = table === "tasks" || table === "windows" ? shortest(ids) : known.length;
  const all = length !== known.length;
  known.length = length;
  for (const [number, element] of known.elements) {
    if (known.rows.has(number)) continue;
    element.remove();
    known.elements.delete(number);
  }
  arranged(table).forEach((number, index) => {
    let element = known.elements.get(number);
    const fresh = element === undefined;
    if (fresh) known.elements.set(number, (element = make("tr")));
    if (fresh || all || known.changed.has(number)) {
      fillRow(element, table, known.rows.get(number));
    }
    if (place.children[index] !== element) place.insertBefore(element, place.children[index] ?? null);
  });
  known.changed = new Set();
  fitting(place, table, known.order.length);
  if (table === "tasks") sift();
}

// which of the tasks are shown: those of one kind, with one word in them

const failures = new Set(["failed", "rejected", "lost", "expired"]);
const KINDS = { all: () => true, open: (row) => !settled.has(row.state), failed: (row) => failures.has(row.state) };
let kind = "all";

function sift() {
  const known = state.tables.tasks;
  const wanted = find("word").value.trim().toLowerCase();
  for (const [number, element] of known.elements) {
    const row = known.rows.get(number);
    const said = [row.prompt_id, row.window, row.server, row.state, row.error, row.tag, row.node];
    element.hidden = !KINDS[kind](row) || !(wanted === "" || said.some((text) => String(text ?? "").toLowerCase().includes(wanted)));
  }
}

function fitting(place, table, shown) {
  const section = place.closest("section");
  const all = state.head[table];
  section.classList.toggle("is-empty", !shown);
  section.querySelector(".more").textContent = all > shown ? `${count(shown)} shown of ${count(all)}` : "";
}

// head

function drawHead() {
  const head = state.head;
  find("log").textContent = head.log;
  document.title = `${head.severities.error ? `(${count(head.severities.error)}) ` : ""}${head.log} · comfy-fsm`;
  find("rate").textContent = `${count(Math.round(head.rate))} a second`;
  find("rate").title = `${count(head.observations)} observations, position ${count(head.position)}`;
  const totals = [
    ...Object.entries(head.states).map(([text, number]) => [text, number, text]),
    ...Object.entries(head.severities).map(([text, number]) => [text, number, number === 1 ? text : `${text}s`]),
    ...(head.waiting ? [["uncertain", head.waiting, "waiting"]] : []),
    ["", head.observations, "observations"],
  ];
  find("totals").replaceChildren(
    ...totals.map(([text, number, label]) => {
      const item = make("li");
      item.append(make("b", "", count(number)), text ? word(text, label) : make("span", "", label));
      return item;
    }),
  );
  find("alerts").replaceChildren(
    ...head.alerts.map((row) => {
      const item = make("li");
      item.append(make("b", "", row.name), ` ${row.server === null ? "" : `${host(row.server)}: `}${row.summary} `, make("span", "soft", row.advice));
      return item;
    }),
  );
  const most = Math.max(...head.rates, 1);
  const bars = head.rates.slice(0, -1).map((rate, index) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = rate ? Math.max(1.5, (22 * rate) / most) : 0.6;
    for (const [key, value] of Object.entries({ x: 2 * index + 1, y: 24 - height, width: 1.4, height }))
      bar.setAttribute(key, value);
    return bar;
  });
  find("sparks").replaceChildren(...bars);
}

function standing() {
  const head = state.head;
  const time = Date.now() / 1000 + state.offset;
  let [kind, text] = ["live", "live"];
  if (state.paused) [kind, text] = ["wait", "paused"];
  else if (source?.readyState !== EventSource.OPEN) [kind, text] = ["wait", head ? "connection lost; trying again" : "connecting"];
  else if (!head) [kind, text] = ["wait", "reading the log"];
  else if (head.trouble !== null) [kind, text] = ["bad", head.trouble];
  else if (head.behind) [kind, text] = ["wait", "reading on"];
  else if (head.written === false)
    [kind, text] = ["idle", `no process writes this log${head.at === null ? "" : `; its last entry is ${span(time - head.at)} old`}`];
  else if (head.at !== null && time - head.at > state.quiet) [kind, text] = ["idle", `nothing new for ${span(time - head.at)}`];
  const place = find("standing");
  place.dataset.kind = kind;
  if (place.textContent !== text) place.textContent = text;
}

// findings, told politely to who cannot see them come

let told = null;
function announce() {
  const { order, rows } = state.tables.findings;
  const newest = Math.max(-1, ...order);
  if (told !== null && newest > told) {
    const fresh = order.filter((number) => number > told).map((number) => rows.get(number));
    const grave = fresh.find((row) => row.severity === "error") ?? fresh[0];
    const advice = state.codes[grave.code]?.[2] ?? "";
    find("announce").textContent = `${fresh.length > 1 ? `${fresh.length} findings, one of them ` : ""}${grave.severity} ${grave.code}. ${advice}`;
  }
  told = newest;
}

// the diagnosis of a task, to which its row links

const sheet = find("sheet");
const chosen = () => Number(/^#task-(\d{1,12})$/.exec(location.hash)?.[1] ?? NaN);
let shown = { text: "", at: 0 };

async function openSheet() {
  const number = chosen();
  if (Number.isNaN(number)) {
    if (sheet.open) sheet.close();
    return;
  }
  shown.at = Date.now();
  const answer = await fetch(`/task?number=${number}`).catch(() => null);
  const text = answer === null ? "The connection is lost." : await answer.text();
  if (chosen() !== number) return;
  if (!sheet.open || text !== shown.text) {
    if (answer?.ok) fillSheet(JSON.parse(text));
    else if (!sheet.open) {
      find("sheet-title").textContent = `Task ${number}`;
      find("sheet-body").replaceChildren(make("p", "", text));
    }
    shown.text = text;
  }
  if (!sheet.open) sheet.showModal();
}

const cited = (positions) => (positions.length ? ` (line ${positions.slice(0, 6).map(count).join(", ")})` : "");

function fillSheet(told) {
  find("sheet-title").replaceChildren(word(told.state), " ", make("span", "id", told.prompt_id ?? "(no id)"));
  const parts = [make("p", "says", told.says.text + cited(told.says.positions))];
  if (told.tag) parts.push(make("p", "soft", `tag ${told.tag}`));
  parts.push(...told.error.map((text) => make("p", "reason", text)));
  parts.push(make("p", "soft", `${told.window === null ? "no window" : `window ${told.window}`}, at ${host(told.server)}`));
  parts.push(...list("What to do next", told.steps.map(step), "ol"));
  parts.push(...list("What is missing", told.missing.map((row) => make("li", "", row.text + cited(row.positions)))));
  parts.push(...list("Findings", told.findings.map(found)));
  parts.push(...list("What happened", told.evidence.map((row) => move(row, told.evidence[0].at)), "ol"));
  find("sheet-body").replaceChildren(...parts);
}

function list(title, items, kind = "ul") {
  if (!items.length) return title === "What to do next" ? [make("h3", "", title), make("p", "", "Nothing needs to be done.")] : [];
  const place = make(kind);
  place.append(...items);
  return [make("h3", "", title), place];
}

function step(row) {
  const item = make("li", "", row.text);
  if (row.command !== null) item.append(make("code", "command", row.command));
  return item;
}

function found(row) {
  const item = make("li");
  const advice = state.codes[row.code]?.[2] ?? "";
  item.append(word(row.severity), " ", make("code", "", row.code), ` ${row.text}${cited(row.positions)}. `, make("span", "soft", advice));
  return item;
}

function move(row, begun) {
  const item = make("li");
  const time = new Date(row.at * 1000).toLocaleTimeString("en-GB");
  const line = make("div", "line");
  line.append(make("span", "", time), make("span", "soft", `+${(row.at - begun).toFixed(3)} s`), make("code", "", row.signal), word(row.after));
  item.append(line, make("span", "soft", row.why + cited([row.position])));
  return item;
}

sheet.addEventListener("close", () => {
  const number = chosen();
  if (Number.isNaN(number)) return;
  history.replaceState(null, "", location.pathname);
  document.querySelector(`a[href="#task-${number}"]`)?.focus();
});
find("close").addEventListener("click", () => sheet.close());
addEventListener("hashchange", openSheet);

// the feed

const DRAWN = ["tasks", "windows", "servers", "findings"]; // findings last: they name tasks and windows as the others do

function take(kind, message) {
  if (kind === "view") {
    state.codes = message.codes;
    for (const known of Object.values(state.tables)) known.rows.clear(); // its elements are filled again, and stay
  }
  state.head = message.head;
  state.quiet = message.quiet;
  for (const [table, changed] of Object.entries(message.tables)) change(table, changed);
  drawHead();
  for (const table of kind === "view" ? DRAWN : DRAWN.filter((table) => table in message.tables)) {
    if (table === "findings") drawFindings();
    else draw(table);
  }
  announce();
  standing();
  if (kind === "view" || (sheet.open && Date.now() - shown.at > 1_000)) openSheet();
}

function hear(kind) {
  return (message) => {
    const told = JSON.parse(message.data);
    state.heard = Date.now();
    state.offset = told.now - Date.now() / 1000;
    take(kind, told);
  };
}

function open() {
  source?.close();
  state.heard = Date.now();
  source = new EventSource("/feed");
  source.addEventListener("view", hear("view"));
  source.addEventListener("change", hear("change"));
  source.addEventListener("open", standing);
  source.addEventListener("error", standing);
}

find("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  find("pause").setAttribute("aria-pressed", String(state.paused));
  find("pause").textContent = state.paused ? "Go on" : "Pause";
  if (state.paused) source.close();
  else open(); // and is told all that there is to see by now
  standing();
});

for (const button of document.querySelectorAll("[data-kind-of-task]"))
  button.addEventListener("click", () => {
    kind = button.dataset.kindOfTask;
    for (const other of document.querySelectorAll("[data-kind-of-task]")) other.setAttribute("aria-pressed", String(other === button));
    sift();
  });
find("word").addEventListener("input", sift);

setInterval(() => {
  if (state.paused) return;
  document.querySelectorAll("time[data-at]").forEach(tick);
  // A refused feed is given up by the browser, and one whose other end is gone may stay open for hours.
  if (source.readyState === EventSource.CLOSED ? Date.now() - state.heard > 3_000 : Date.now() - state.heard > SILENT) open();
  standing();
}, 1_000);

open();
