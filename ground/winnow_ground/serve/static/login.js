// A link from another place arrives without the session's cookie, though there may be a session.
const form = document.querySelector("form.login");
if (form && !document.querySelector("[role=alert]")) {
  const answer = await fetch("/who");
  if (answer.ok) location.replace(form.elements.next.value);
}
