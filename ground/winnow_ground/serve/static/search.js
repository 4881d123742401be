// The page works without this script; with it, counts and pictures follow every move.
const form = document.querySelector("#query");
const grid = document.querySelector("#grid");
const number = new Intl.NumberFormat("en-US");
let asked = 0;
let page = Number(new URLSearchParams(location.search).get("page") ?? 0);

function address() {
  const told = new URLSearchParams();
  for (const [key, value] of new FormData(form)) {
    const plain = { text: "", since: "", until: "", box: "", low: "0", high: "1", least: "0", order: "confidence" }[key];
    if (value !== plain) told.append(key, value);
  }
  if (page) told.set("page", page);
  return told;
}

function counted(count, thing) {
  return `${number.format(count)} ${thing}${count === 1 ? "" : "s"}`;
}

function element(name, words, ...children) {
  const made = Object.assign(document.createElement(name), words);
  made.append(...children);
  return made;
}

function shot(one) {
  const picture = one.pictured
    ? element("img", { src: `/tile/${one.id}/picture`, alt: one.class_name, loading: "lazy" })
    : element("span", { className: "none" }, one.have === "record" ? "record only" : "picture not here");
  const mark = element("i", {});
  mark.style.background = one.colour;
  const where = element("span", { className: "soft" }, one.swath, element("br", {}),
    `line ${number.format(one.line)}, sample ${number.format(one.sample)}`);
  const words = element("div", {}, element("strong", {}, mark, one.class_name),
    ` ${one.posterior.toFixed(3)}`, element("br", {}), where);
  return element("a", { className: "shot", href: `/swath/${one.swath_id}#tile-${one.id}` }, picture, words);
}

function facet(field, counts) {
  const chosen = new Set([...field.querySelectorAll("input:checked")].map((box) => box.value));
  const focused = field.contains(document.activeElement) ? document.activeElement.value : null;
  const names = [...Object.keys(counts), ...[...chosen].filter((name) => !(name in counts))];
  const rows = names.map((name) => element("label", { className: "value" },
    element("input", { type: "checkbox", name: field.dataset.facet, value: name, checked: chosen.has(name) }),
    element("span", {}, name || "not known"), element("b", {}, number.format(counts[name] ?? 0))));
  field.replaceChildren(field.querySelector("legend"), ...rows);
  if (focused !== null) [...field.querySelectorAll("input")].find((box) => box.value === focused)?.focus();
}

async function follow() {
  const mine = ++asked;
  const told = address();
  document.querySelector("#low-said").value = Number(form.elements.low.value).toFixed(2);
  document.querySelector("#high-said").value = Number(form.elements.high.value).toFixed(2);
  const answer = await fetch(`/found?${told}`);
  const found = await answer.json();
  if (mine !== asked) return; // a later move has been answered, or will be
  const count = document.querySelector("#count");
  if (!answer.ok) {
    count.textContent = found.error;
    return;
  }
  history.replaceState(null, "", told.size ? `?${told}` : location.pathname);
  count.textContent = `${counted(found.detections, "detection")} in ${counted(found.swaths, "swath")}`;
  for (const field of form.querySelectorAll("fieldset")) facet(field, found.facets[field.dataset.facet]);
  grid.replaceChildren(...found.listed.map(shot));
  document.querySelector("#page").textContent = `page ${number.format(page + 1)} of ${number.format(Math.max(found.pages, 1))}`;
  document.querySelector("#back").disabled = page === 0;
  document.querySelector("#on").disabled = page + 1 >= found.pages;
  told.delete("page");
  for (const link of document.querySelectorAll(".export")) link.href = `/export/${link.dataset.form}?${told}`;
  for (const link of document.querySelectorAll("#label-these")) link.href = `/label/new?${told}`;
}

/** While the server reads the catalogue: how far it is, until what is asked for is there. */
async function wait() {
  const count = document.querySelector("#count");
  let there = false;
  follow().catch(() => location.reload()).finally(() => { there = true; });
  while (!there) {
    await new Promise((done) => setTimeout(done, 500));
    const { read } = await fetch("/found/read").then((answer) => answer.json()).catch(() => ({}));
    if (!there && typeof read === "number") count.textContent = `The catalogue is read, ${Math.round(100 * read)} % so far. Counts and pictures follow.`;
  }
}

const choices = document.querySelector("#choices");
// On a phone the pictures come first.
choices.open = !matchMedia("(max-width: 820px)").matches;
form.addEventListener("input", () => { page = 0; follow(); });
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const turned = { back: -1, on: 1 }[event.submitter?.id];
  page = turned ? Math.max(0, page + turned) : 0;
  follow();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const shots = [...grid.querySelectorAll("a")];
  const at = shots.indexOf(document.activeElement);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (event.key === "/") {
    choices.open = true;
    form.elements.text.focus();
  }
  else if (event.key === "n") document.querySelector("#on").click();
  else if (event.key === "p") document.querySelector("#back").click();
  else if (step && shots.length) shots[Math.min(Math.max(at + step, 0), shots.length - 1)].focus();
  else return;
  event.preventDefault();
});
if ("reading" in document.querySelector("#count").dataset) wait();
