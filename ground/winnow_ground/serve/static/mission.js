// The page follows the catalogue: what is added appears, while somebody looks.
const PAUSE_MS = 2000;
const now = document.querySelector("#now");
const news = document.querySelector("#news");

async function follow() {
  if (document.hidden) return;
  const answer = await fetch(`/mission/now?seen=${now.dataset.version}`);
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  if (told.part === null) return;
  now.innerHTML = told.part; // made by the server's templates, which escape every name
  now.dataset.version = told.version;
  news.textContent = `Changed at ${new Date().toLocaleTimeString()}.`;
}

setInterval(() => follow().catch((error) => { news.textContent = `Not up to date: ${error.message}`; }), PAUSE_MS);
document.addEventListener("visibilitychange", () => follow().catch(() => {}));
