// Keeps the page up to date. What is shown is rendered by the server alone: an event carries the new content of <main>, and
// only what differs is changed, so that focus, selection and open details stay. When the server has gone, the app is about to
// take its place: the page asks until something answers, and reloads into it.
"use strict";

const RETRY_MILLISECONDS = 1500;
const notice = document.getElementById("connection");

function adjust(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(document.importNode(fresh, true));
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  adjustChildren(old, fresh);
}

function adjustChildren(old, fresh) {
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const match = child.id && known.get(child.id);
    if (match && match !== next) {
      old.insertBefore(match, next);
      next = match;
    }
    if (!next || (!match && next.id && next.id !== child.id)) {
      old.insertBefore(document.importNode(child, true), next);
      continue;
    }
    const following = next.nextSibling;
    adjust(next, child);
    next = following;
  }
  while (next) {
    const following = next.nextSibling;
    next.remove();
    next = following;
  }
}

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("main");
  if (!fresh) return;
  adjust(document.querySelector("main"), fresh);
  document.title = fresh.dataset.title;
  tell("");
}

function tell(text) {
  if (notice.textContent !== text) notice.textContent = text;
  notice.hidden = text === "";
}

function listen() {
  const source = new EventSource("events?as=page");
  source.addEventListener("page", (event) => show(event.data));
  const lost = () => {
    source.close();
    setTimeout(reconnect, RETRY_MILLISECONDS);
  };
  source.addEventListener("end", () => {
    tell("The provisioner has finished. This page reloads as soon as the app answers.");
    lost();
  });
  source.addEventListener("error", lost);
}

async function reconnect() {
  try {
    const response = await fetch(location.href, { cache: "no-store" });
    if (!response.headers.has("X-Provisioner")) {
      // A proxy answers with an error of its own while the app starts.
      if (response.status < 500) {
        location.reload();
        return;
      }
    } else if (response.ok) {
      show(await response.text());
      listen();
      return;
    }
  } catch {
    if (notice.hidden) tell("There is no connection. This page goes on as soon as the provisioner, or the app, answers.");
  }
  setTimeout(reconnect, RETRY_MILLISECONDS);
}

listen();
