// Answers that still wait in this browser, of any of the sets that are listed, are sent.
import { Queue } from "/static/label-queue.js";

const waiting = new Map();

for (const row of document.querySelectorAll("[data-set]")) {
  const { set, made } = row.dataset;
  const { person } = row.closest("table").dataset;
  new Queue(person, set, made, {
    told: (state, count) => {
      waiting.set(set, count);
      const all = [...waiting.values()].reduce((sum, one) => sum + one, 0);
      document.querySelector("#state").textContent = all ? `${all} answers wait in this browser` : "all answers are saved";
    },
  });
}
