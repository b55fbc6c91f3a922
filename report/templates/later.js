"use strict";
// Closed parts of the page stand in <noscript class="later">: one text each while scripts run, so that a page of any size is there
// at once, and plain page where none run. A part becomes elements when it is opened, sought or printed, else when nothing else is to do.
const later = (() => {
  function read(part) {
    const inside = document.createElement("template");
    inside.innerHTML = part.textContent;
    const elements = [...inside.content.children];
    part.replaceWith(inside.content);
    document.dispatchEvent(new CustomEvent("read", { detail: elements }));
  }

  const unread = (within) => within.querySelectorAll("noscript.later");

  // Opening a section also shows the parts in it that are open from the start, and tells so of itself alone.
  function shown(within = document) {
    for (const part of unread(within)) if (!part.closest("details:not([open])")) read(part);
  }
  document.addEventListener("toggle", (event) => event.target.open && shown(event.target), true);

  function readAtLeisure() {
    const next = document.querySelector("noscript.later");
    if (!next) return;
    read(next);
    requestIdleCallback(readAtLeisure);
  }
  addEventListener("load", () => requestIdleCallback(readAtLeisure));

  return {
    shown,
    all: (within = document) => unread(within).forEach(read),
    // The element of this name, wherever it is.
    named(name) {
      const part = document.getElementById(name) ? null : [...unread(document)].find((one) => one.textContent.includes(`id="${name}"`));
      if (part) read(part);
      return document.getElementById(name);
    },
  };
})();
