// Keeps a page up to date: fetches it again and changes only what is different, so that nothing flickers, the focus
// stays where it is and what is selected stays selected. Without a script the page is what it is: reload it.
"use strict";

(() => {
  const every = 2000;
  const main = document.getElementById("main");
  const pause = document.getElementById("pause");
  const note = document.getElementById("note");
  let timer = 0;
  let paused = false;

  const keyed = (element) => element.nodeType === Node.ELEMENT_NODE ? element.id : "";

  const alike = (one, other) =>
    one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyed(one) === keyed(other);

  function morph(old, fresh) {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE || old.hasAttribute("data-still")) return;
    if (old.classList.contains("copy")) return;
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    children(old, fresh);
  }

  function children(old, fresh) {
    const wanted = [...fresh.childNodes];
    let at = old.firstChild;
    for (const node of wanted) {
      const known = keyed(node) && [...old.childNodes].find((each) => keyed(each) === keyed(node));
      if (known && known !== at) old.insertBefore(known, at);
      const same = known || (at && alike(at, node) ? at : null);
      if (same) {
        morph(same, node);
        at = same.nextSibling;
      } else {
        old.insertBefore(document.importNode(node, true), at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function setUp() {
    for (const button of document.querySelectorAll("button.copy[hidden]")) {
      button.hidden = false;
      button.addEventListener("click", () => copy(button));
    }
    document.dispatchEvent(new Event("stemd:fresh"));
  }

  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  function say(text) {
    note.hidden = false;
    if (note.textContent !== text) note.textContent = text;
  }

  async function look() {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
      if (fresh && !paused) { morph(main, fresh); setUp(); }
      say(paused ? "Paused" : "Live");
    } catch {
      say("✕ No answer; trying again");
    }
    later();
  }

  function later() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(look, every);
  }

  setUp();
  if (!document.body.hasAttribute("data-live")) return;
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    say(paused ? "Paused" : "Live");
    if (paused) clearTimeout(timer); else look();
  });
  document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(timer); else if (!paused) look(); });
  say("Live");
  later();
})();
