// Makes a set of what a search found.
import { change } from "/static/change.js";

const form = document.querySelector("#new");

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = form.elements;
  const told = {
    name: fields.name.value, most: Number(fields.most.value), page: Number(fields.page.value),
    class: fields.class.value, hidden: fields.hidden.checked,
  };
  try {
    const made = await change(form.dataset.address, told);
    location.assign(`/label/${made.set}`);
  } catch (error) {
    document.querySelector("#said").textContent = error.message;
  }
});
