// The page of a swath: which boxes are shown, which one is chosen, what is asked for.
import { change } from "/static/change.js";
import { Viewer } from "/static/viewer.js";

const $ = (what) => document.querySelector(what);
const number = new Intl.NumberFormat("en-US");
const told = JSON.parse($("#told").textContent);
const low = $("#low");
const kinds = [...document.querySelectorAll(".shown")];
const shots = [...document.querySelectorAll("#grid .shot")];
const form = $("#ask");
const viewer = new Viewer($("#map"), told, { pick: choose, drawn: own });
const byId = new Map(told.boxes.map((box) => [box.id, box]));

function said(box) {
  return `line ${number.format(box.line)}, sample ${number.format(box.sample)}, ${number.format(box.lines)}x${number.format(box.samples)}`;
}

function fill(box) {
  if (!form || !box) return;
  for (const name of ["line", "sample", "lines", "samples"]) form.elements[name].value = box[name];
}

function choose(box, bring = false) {
  viewer.chosen = box;
  viewer.own = null;
  $("#chosen").textContent = box ? `${box.class} ${box.posterior.toFixed(3)}, ${said(box)}` : "";
  fill(box);
  if (box && bring) viewer.show(box); else viewer.redraw();
}

function own(box) {
  viewer.chosen = null;
  viewer.own = box;
  $("#chosen").textContent = `A box: ${said(box)}`;
  fill(box);
  viewer.redraw();
}

function follow() {
  const chosen = new Set(kinds.filter((box) => box.checked).map((box) => box.value));
  viewer.shows = (box) => chosen.has(box.class) && box.posterior >= Number(low.value);
  const shown = told.boxes.filter(viewer.shows);
  const ids = new Set(shown.map((box) => box.id));
  for (const shot of shots) shot.classList.toggle("off", !ids.has(Number(shot.dataset.id)));
  $("#low-said").value = Number(low.value).toFixed(2);
  $("#count").textContent = `${number.format(shown.length)} detection${shown.length === 1 ? "" : "s"}`;
  viewer.redraw();
}

function step(by) {
  const shown = told.boxes.filter(viewer.shows);
  if (!shown.length) return;
  const at = shown.indexOf(viewer.chosen);
  choose(shown[(at < 0 && by < 0 ? 0 : at + by + shown.length) % shown.length], true);
}

function drawing(on) {
  viewer.drawing = on;
  $("#draw")?.setAttribute("aria-pressed", String(on));
  viewer.canvas.classList.toggle("drawing", on);
}

function hashed() {
  const box = byId.get(Number(location.hash.replace("#tile-", "")));
  if (box) choose(box, true);
}

const keys = {
  ArrowLeft: () => viewer.move(-viewer.wide / 8, 0),
  ArrowRight: () => viewer.move(viewer.wide / 8, 0),
  ArrowUp: () => viewer.move(0, -viewer.tall / 8),
  ArrowDown: () => viewer.move(0, viewer.tall / 8),
  "+": () => viewer.zoom(1.5),
  "=": () => viewer.zoom(1.5),
  "-": () => viewer.zoom(1 / 1.5),
  0: () => viewer.fit(),
  n: () => step(1),
  p: () => step(-1),
  Escape: () => { drawing(false); choose(null); },
};
if (form) {
  keys.b = () => own(viewer.middle());
  keys.d = () => drawing(!viewer.drawing);
  keys.r = () => form.requestSubmit();
  $("#draw").addEventListener("click", keys.d);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const asked = Object.fromEntries(["line", "sample", "lines", "samples"].map((name) => [name, Number(form.elements[name].value)]));
    try {
      await change(`/swath/${told.id}/ask`, { ...asked, comment: form.elements.comment.value });
      location.reload();
    } catch (error) {
      $("#asked").textContent = error.message;
    }
  });
}
for (const button of document.querySelectorAll(".withdraw")) {
  button.addEventListener("click", async () => {
    try {
      await change(`/request/${button.dataset.request}/withdraw`);
      location.reload();
    } catch (error) {
      button.replaceWith(error.message);
    }
  });
}
for (const [id, key] of Object.entries({ in: "+", out: "-", fit: "0", before: "p", next: "n" })) {
  $(`#${id}`).addEventListener("click", keys[key]);
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const elsewhere = event.target.matches("input:not([type=checkbox]), select, textarea");
  const arrows = event.key.startsWith("Arrow") && event.target !== viewer.canvas;
  if (elsewhere || arrows || !keys[event.key]) return;
  keys[event.key]();
  event.preventDefault();
});
for (const box of [low, ...kinds]) box.addEventListener("input", follow);
addEventListener("hashchange", hashed);
follow();
hashed();
if (told.pictured) {
  $("#from").textContent = "The strip is being cut into tiles.";
  const answer = await fetch(`/swath/${told.id}/zoom`);
  const made = await answer.json();
  if (answer.ok) {
    viewer.pyramid = made;
    $("#from").textContent = `The strip itself, ${number.format(made.lines)} lines of ${number.format(made.samples)} samples.`;
  } else $("#from").textContent = `No strip: ${made.error}.${told.looked ? " Quick look." : ""}`;
  viewer.redraw();
}
