// A page of tiles: clicks and keys say what they show. Every answer is kept at once (label-queue.js).
import { Queue } from "/static/label-queue.js";

const told = JSON.parse(document.querySelector("#told").textContent);
const $ = (selector) => document.querySelector(selector);
const grid = $("#grid");
const tiles = new Map(told.tiles.map((tile) => [tile.id, tile]));
const order = told.tiles.map((tile) => tile.id);
const names = told.classes.map((one) => one.name);
// Of the background's class people say `nothing`.
const suspected = told.suspected && (names.includes(told.suspected) ? told.suspected : "nothing");
if (names.includes(suspected)) names.unshift(...names.splice(names.indexOf(suspected), 1));
const colours = new Map(told.classes.map((one) => [one.name, one.colour]));
const keys = new Map([...names.slice(0, 9).map((name, i) => [String(i + 1), name]), ["0", "nothing"], ["u", "unsure"], ["l", "later"]]);
const undoKey = `winnow-undo:${told.set}:${told.made}`;
const MOST_UNDO = 50;
let { answered, later } = told;
let current = order[0];

const queue = new Queue(told.person, told.set, told.made, {
  told: (state, count, why) => {
    const away = `the server is away (${why}): ${count} answer${count === 1 ? "" : "s"} wait in this browser`;
    $("#state").textContent = { saved: "saved", saving: `saving ${count}`, away }[state];
    $("#state").className = state;
  },
  net: (found) => {
    for (const [id, net] of Object.entries(found)) {
      const tile = tiles.get(Number(id));
      if (!tile) continue;
      tile.net = net;
      show(tile);
    }
  },
  refused: (answer) => {
    const tile = tiles.get(answer.tile);
    if (tile?.mine?.client === answer.client) change(tile, null);
    tellRefused();
  },
});

/** Say which answers the server would not have; they stay in this browser for another try. */
function tellRefused() {
  const refused = queue.refused();
  const why = [...new Set(refused.map((one) => one.why))].join("; ");
  const many = `${refused.length} answer${refused.length === 1 ? " was" : "s were"}`;
  const button = (words, act) => {
    const made = element("button", { type: "button" }, words);
    made.addEventListener("click", () => { act(); tellRefused(); });
    return made;
  };
  $("#trouble").hidden = !refused.length;
  $("#trouble").replaceChildren(`${many} refused: ${why}. `,
    button("Try again", () => {
      for (const one of refused) if (!one.withdraws && tiles.has(one.tile)) change(tiles.get(one.tile), one);
      queue.retry();
    }), " ", button("Drop", () => queue.forget()));
}

function element(name, words, ...children) {
  const made = Object.assign(document.createElement(name), words);
  made.append(...children);
  return made;
}

function says(mine) {
  return mine ? (mine.class ?? mine.answer) : null;
}

/** What the person says of a tile now, on the page alone. */
function change(tile, mine) {
  const count = (one, sign) => {
    if (one?.answer === "later") later += sign;
    else if (one) answered += sign;
  };
  count(tile.mine, -1);
  count(mine, 1);
  tile.mine = mine;
  show(tile);
  $("#bar").value = answered;
  $("#count").replaceChildren(`${answered} of ${told.total} answered`);
  if (later) $("#count").append(", ", element("a", { href: "?only=later" }, `${later} for later`));
}

/** Say something of a tile; returns what is to be undone. */
function say(tile, what, comment = tile.mine?.comment ?? "") {
  const before = tile.mine;
  const plain = ["nothing", "unsure", "later"].includes(what);
  const answer = { answer: plain ? what : "shows", class: plain ? null : what, comment };
  const client = queue.put({ set: told.set, made: told.made, tile: tile.id, sha256: tile.sha256, ...answer });
  change(tile, { ...answer, client });
  return { tile: tile.id, client, before };
}

function takeBack(tile) {
  const before = tile.mine;
  queue.put({ set: told.set, made: told.made, tile: tile.id, withdraws: before.client });
  change(tile, null);
  return { tile: tile.id, client: null, before };
}

function done() {
  try {
    return JSON.parse(sessionStorage.getItem(undoKey) ?? "[]");
  } catch {
    return []; // no storage: nothing can be undone
  }
}

function keepDone(groups) {
  try {
    sessionStorage.setItem(undoKey, JSON.stringify(groups.slice(-MOST_UNDO)));
  } catch {
    // no storage
  }
}

function remember(group) {
  if (group.length) keepDone([...done(), group]);
}

function undo() {
  const past = done();
  const group = past.pop();
  if (!group) return;
  keepDone(past);
  for (const { tile: id, client, before } of group.reverse()) {
    const tile = tiles.get(id) ?? { id, sha256: "", mine: null };
    if (before) {
      tile.mine ??= before;
      say(tile, says(before), before.comment);
    } else {
      tile.mine ??= { client };
      takeBack(tile);
    }
  }
  const first = tiles.get(group[0].tile);
  if (first) focus(first.id);
  else location.reload();
}

function brush() {
  return $("#brush input:checked").value;
}

function paint(tile) {
  const what = brush();
  if (says(tile.mine) === what && tile.mine.client) remember([takeBack(tile)]);
  else remember([say(tile, what)]);
}

function answer(what) {
  const tile = tiles.get(current);
  if (!tile) return;
  remember([say(tile, what)]);
  step(1);
}

function step(count) {
  const at = order.indexOf(current) + count;
  if (at < order.length) focus(order[Math.max(at, 0)]);
  else if (isOne()) submit();
}

function focus(id) {
  current = id;
  if (isOne()) detail();
  else $(`#tile-${id}`)?.focus();
}

function isOne() {
  return !$("#detail").hidden;
}

function address(tile, wide) {
  const mark = `?sha256=${tile.sha256}`;
  return wide === 1 ? `/tile/${tile.id}/picture${mark}` : `/label/tile/${tile.id}/around/${wide}${mark}`;
}

function words(tile) {
  const own = says(tile.mine);
  const note = tile.mine?.comment ? ` “${tile.mine.comment}”` : "";
  const net = tile.net ? `net: ${tile.net.class ?? "screened"} ${tile.net.posterior.toFixed(2)}` : "";
  return { own: own ? own + note : "", net };
}

function show(tile) {
  const button = $(`#tile-${tile.id}`);
  if (!button) return;
  const { own, net } = words(tile);
  const what = says(tile.mine);
  button.dataset.says = what ? (colours.has(what) ? "class" : what) : "";
  button.style.setProperty("--colour", colours.get(what) ?? "var(--line)");
  button.querySelector(".own").textContent = own;
  button.querySelector(".net").textContent = net;
  button.setAttribute("aria-label", `Tile ${order.indexOf(tile.id) + 1}: ${own || "no answer"}${net ? `, ${net}` : ""}`);
  if (isOne() && tile.id === current) detail();
}

function detail() {
  const tile = tiles.get(current);
  if (!tile) return;
  $("#view-1").src = address(tile, 1);
  for (const view of document.querySelectorAll("[data-wide]")) {
    view.closest("figure").hidden = !tile.around;
    if (tile.around) view.src = address(tile, Number(view.dataset.wide));
  }
  const next = tiles.get(order[order.indexOf(current) + 1]);
  if (next) for (const wide of [1, ...(next.around ? told.around : [])]) new Image().src = address(next, wide);
  const { own, net } = words(tile);
  $("#detail-said").textContent = [`tile ${order.indexOf(current) + 1} of ${order.length} on this page`, own || "no answer yet", net].filter(Boolean).join(" · ");
  for (const button of $("#answers").children) button.classList.toggle("chosen", button.value === says(tile.mine));
}

function toggleOne() {
  $("#detail").hidden = isOne();
  grid.hidden = isOne();
  for (const tool of ["#brush", "#others"]) $(tool).hidden = isOne();
  $("#one").setAttribute("aria-pressed", isOne());
  const left = order.find((id) => !tiles.get(id).mine);
  if (isOne() && tiles.get(current)?.mine && left) current = left;
  focus(current);
}

/** All tiles without an answer get the one for the rest; then the next page, once all is saved. */
async function submit() {
  const rest = isOne() ? "" : $("#rest").value;
  const open = rest ? order.map((id) => tiles.get(id)).filter((tile) => !tile.mine) : [];
  // What the net did not detect may have been merged into a detection: a person looks at it.
  const of = (tile) => (rest === "net" ? (tile.net?.detection ? tile.net.class : "") : rest);
  remember(open.filter(of).map((tile) => say(tile, of(tile))));
  const before = queue.refused().length;
  $("#submit").disabled = true;
  await queue.drained();
  if (queue.refused().length > before) { // to be read before the page is left
    $("#submit").disabled = false;
    $("#trouble").scrollIntoView({ block: "nearest" });
    return;
  }
  const only = told.only ? "&only=later" : "";
  const one = isOne() ? "&one=1" : "";
  const left = answered + later < told.total;
  if (told.page + 1 < told.pages) location.assign(`?page=${told.page + 1}${only}${one}`);
  else location.assign(left && !only ? `/label/${told.set}?${one.slice(1)}` : "/label");
}

async function comment() {
  const tile = tiles.get(current);
  if (!tile) return;
  $("#words").value = tile.mine?.comment ?? "";
  $("#comment").returnValue = "";
  $("#comment").showModal();
}

$("#comment").addEventListener("close", () => {
  const tile = tiles.get(current);
  // A comment goes with an answer; on a tile without one the tile is put off.
  if ($("#comment").returnValue === "keep") remember([say(tile, says(tile.mine) ?? "later", $("#words").value)]);
  focus(current);
});

function build() {
  const first = names.includes(suspected) ? "nothing" : names[0] ?? "nothing";
  for (const [key, name] of [...keys, ...names.slice(9).map((name) => ["", name])]) {
    const mark = element("i", {});
    mark.style.background = colours.get(name) ?? "transparent";
    const input = element("input", { type: "radio", name: "brush", value: name, checked: name === first });
    const hint = key ? [" ", element("kbd", {}, key)] : [];
    $("#brush").append(element("label", {}, input, mark, name, ...hint));
    const button = element("button", { type: "button", value: name }, name, ...hint.map((one) => one.cloneNode?.(true) ?? one));
    button.addEventListener("click", () => answer(name));
    $("#answers").append(button);
  }
  const rest = [["", "left open"], ...(told.hidden ? [] : [["net", "as the net says"]]), ["nothing", "nothing"], ...names.map((name) => [name, name])];
  const usual = told.only ? "" : (suspected ?? (told.hidden ? "" : "net"));
  $("#rest").append(...rest.map(([value, name]) => element("option", { value, selected: value === usual }, name)));
  for (const tile of told.tiles) {
    const picture = tile.sha256
      ? element("img", { src: address(tile, 1), alt: "", width: 120, height: 120 })
      : element("span", { className: "none" }, "no picture");
    const said = element("span", { className: "words" }, element("span", { className: "own" }), " ", element("span", { className: "net soft" }));
    const button = element("button", { type: "button", id: `tile-${tile.id}`, className: "shot tile" }, picture, said);
    button.addEventListener("click", () => { current = tile.id; paint(tile); });
    button.addEventListener("focus", () => { current = tile.id; });
    grid.append(button);
    show(tile);
  }
}

function columns() {
  const top = grid.firstElementChild?.offsetTop;
  return Math.max([...grid.children].filter((one) => one.offsetTop === top).length, 1);
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("#comment").open) return;
  if (event.target.matches("select, input:not([type=radio])")) return;
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() };
  const acts = { z: undo, s: submit, o: toggleOne, c: comment };
  if (event.key in moves && !event.target.matches("input")) {
    const at = order.indexOf(current) + moves[event.key];
    if (at >= 0 && at < order.length) focus(order[at]);
  } else if (keys.has(event.key)) answer(keys.get(event.key));
  else if (event.key in acts) acts[event.key]();
  else return;
  event.preventDefault();
}

build();
$("#submit").addEventListener("click", submit);
$("#undo").addEventListener("click", undo);
$("#one").addEventListener("click", toggleOne);
$("#note").addEventListener("click", comment);
document.addEventListener("keydown", pressed);
addEventListener("beforeunload", (event) => { if (queue.volatile) event.preventDefault(); });
// What was said before the page was left may not be on the server yet.
for (const [, one] of queue.pending()) {
  const tile = tiles.get(one.tile);
  if (tile) change(tile, one.withdraws ? null : { answer: one.answer, class: one.class, comment: one.comment, client: one.client });
}
tellRefused();
if (new URLSearchParams(location.search).has("one")) toggleOne();
else if (order.length) focus(current);
