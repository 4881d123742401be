// Which boxes are shown: those of the chosen classes over the slider.
const low = document.querySelector("#low");
const classes = [...document.querySelectorAll(".shown")];
const marks = [...document.querySelectorAll("[data-class]")];

function follow() {
  const chosen = new Set(classes.filter((box) => box.checked).map((box) => box.value));
  let shown = 0;
  for (const mark of marks) {
    const on = chosen.has(mark.dataset.class) && Number(mark.dataset.posterior) >= Number(low.value);
    mark.classList.toggle("off", !on);
    shown += on && mark.classList.contains("box");
  }
  document.querySelector("#low-said").value = Number(low.value).toFixed(2);
  document.querySelector("#count").textContent = `${shown} detection${shown === 1 ? "" : "s"}`;
}

low.addEventListener("input", follow);
for (const box of classes) box.addEventListener("input", follow);
