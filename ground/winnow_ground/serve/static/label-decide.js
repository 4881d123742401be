// A click decides; the case says so, and may be decided otherwise.
import { change } from "/static/change.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-answer]");
  if (!button) return;
  const one = button.closest(".case");
  const said = one.querySelector(".said");
  const told = {
    tile: Number(one.dataset.tile), answer: button.dataset.answer, comment: one.querySelector(".words").value,
  };
  said.textContent = "saving";
  try {
    await change("/label/decisions", told);
    said.textContent = told.answer ? `decided: ${told.answer}` : "taken back";
    for (const other of one.querySelectorAll("[data-answer]")) other.classList.toggle("chosen", other === button && told.answer !== "");
  } catch (error) {
    said.textContent = error.message;
  }
});
