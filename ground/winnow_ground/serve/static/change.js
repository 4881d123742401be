// How every page changes something: same origin, with the header that the server asks for.

/** POST a value as JSON; the answer's JSON. Throws an Error with the server's words. */
export async function change(address, value = {}) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Winnow": "1" },
    body: JSON.stringify(value),
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.error ?? `the server answers ${answer.status}`);
  return told;
}
