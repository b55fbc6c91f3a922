// Places of the page: sections that open and close, links to them, the contents list, the search over tables, print.
(() => {
  document.documentElement.classList.add("scripted");
  const contents = document.querySelector(".contents");

  // ---- a link to a place opens whatever hides it

  function unfold(place) {
    const inner = place.matches("details") ? place : place.querySelector(":scope > details.fold");
    if (inner) inner.open = true;
    for (let at = place.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
  }

  function go(place) {
    unfold(place);
    later.shown(); // now: what opens above the place would push it away after the page has moved there
    place.scrollIntoView({ block: "start" });
  }

  function goToHash() {
    const place = location.hash.length > 1 && later.named(decodeURIComponent(location.hash.slice(1)));
    if (place) go(place);
  }
  window.addEventListener("hashchange", goToHash);
  document.addEventListener("DOMContentLoaded", goToHash);
  document.addEventListener("click", (event) => {
    const link = event.target.closest ? event.target.closest('a[href^="#"]') : null;
    if (!link || link.dataset.file) return;
    contents.classList.remove("open");
    contents.querySelector(".unfold").setAttribute("aria-expanded", "false");
    if (link.hash === location.hash) goToHash(); // the same place again changes no address
  });

  // ---- the contents list: on a narrow screen behind a button, the place that is read marked

  const unfoldButton = contents.querySelector(".unfold");
  unfoldButton.addEventListener("click", () => {
    unfoldButton.setAttribute("aria-expanded", String(contents.classList.toggle("open")));
  });
  contents.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !contents.classList.contains("open")) return;
    contents.classList.remove("open");
    unfoldButton.setAttribute("aria-expanded", "false");
    unfoldButton.focus();
  });

  const entries = [...contents.querySelectorAll("a")];
  let waiting = false;
  function markPlace() {
    waiting = false;
    const linked = entries.map((link) => [link, document.getElementById(link.hash.slice(1))]);
    // What a closed section holds has no layout yet, and asking for its place would make one of all of it.
    const places = linked.filter(([, place]) => place && !place.parentElement.closest("details.fold:not([open])"));
    const line = 0.3 * innerHeight;
    let [current, section] = [places[0][0], places[0][0]];
    for (const [link, place] of places) {
      const box = place.getBoundingClientRect();
      if (!box.height || box.top > line) continue;
      current = link;
      if (!link.closest("ul ul")) section = link;
    }
    if (current.getAttribute("aria-current") === "location") return;
    for (const link of entries) {
      if (link === current) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
      link.parentElement.classList.toggle("here", link === section);
    }
  }
  function soon() {
    if (!waiting) requestAnimationFrame(markPlace);
    waiting = true;
  }
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon);
  document.addEventListener("toggle", soon, true);
  markPlace();

  // ---- open all and close all

  const all = document.getElementById("open-all");
  all.addEventListener("click", () => {
    const open = all.getAttribute("aria-pressed") !== "true";
    later.all();
    for (const one of document.querySelectorAll("details.fold")) one.open = open;
    all.setAttribute("aria-pressed", String(open));
    all.textContent = open ? "Close all" : "Open all";
  });

  // ---- the strip of verdicts is one stop of the tab key; arrows move inside it

  const chips = [...document.querySelectorAll(".strip .chip")];
  document.querySelector(".strip").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const at = chips.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = chips[(at + step + chips.length) % chips.length];
    chips[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // ---- search over the tables

  const [field, hits] = [document.getElementById("search"), document.getElementById("hits")];
  const MOST = 10;
  let [index, found, chosen] = [null, [], 0];

  function indexed() {
    const cells = [];
    for (const table of document.querySelectorAll("#tables table.sortable")) {
      const whole = table.closest(".part").querySelector("h3").textContent;
      const title = whole.startsWith("Table ") ? whole.split(":")[0] : whole;
      const model = table.caption.firstChild.textContent.trim();
      const heads = [...table.tHead.rows[0].cells].map((head) => head.querySelector("button").textContent);
      for (const row of table.tBodies[0].rows) {
        for (let column = 1; column < row.cells.length; column += 1) {
          const cell = row.cells[column];
          const name = `${title} \u00B7 ${model} \u00B7 ${row.cells[0].textContent} \u00B7 ${heads[column]}`;
          const value = cell.querySelector(".value") || cell.firstChild;
          cells.push({ cell, name, words: name.toLowerCase(), value: value.textContent });
        }
      }
    }
    return cells;
  }

  function search() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!index) later.all(document.getElementById("tables"));
    index = index || indexed();
    found = words.length ? index.filter((entry) => words.every((word) => entry.words.includes(word))).slice(0, MOST) : [];
    chosen = 0;
    hits.replaceChildren(...found.map((entry, at) => {
      const item = document.createElement("li");
      item.id = `hit-${at}`;
      item.setAttribute("role", "option");
      for (const text of [entry.name, entry.value]) item.append(Object.assign(document.createElement("span"), { textContent: text }));
      item.addEventListener("pointerdown", (event) => { event.preventDefault(); visit(at); });
      return item;
    }));
    if (words.length && !found.length) {
      hits.append(Object.assign(document.createElement("li"), { textContent: "No cell of a table has all these words." }));
      hits.firstChild.setAttribute("role", "option");
      hits.firstChild.setAttribute("aria-disabled", "true");
    }
    hits.hidden = !words.length;
    field.setAttribute("aria-expanded", String(!hits.hidden));
    const box = field.getBoundingClientRect();
    Object.assign(hits.style, { top: `${box.bottom + 4}px`, left: `${box.left}px` });
    choose(0);
  }

  function choose(at) {
    chosen = at;
    [...hits.children].forEach((item, number) => item.setAttribute("aria-selected", String(found.length > 0 && number === at)));
    if (found.length) field.setAttribute("aria-activedescendant", `hit-${at}`);
    else field.removeAttribute("aria-activedescendant");
    if (found.length) hits.children[at].scrollIntoView({ block: "nearest" });
  }

  function closeHits() {
    hits.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  function visit(at) {
    const { cell } = found[at];
    closeHits();
    for (const old of document.querySelectorAll(".found")) old.classList.remove("found");
    unfold(cell);
    cell.classList.add("found");
    cell.tabIndex = -1;
    cell.focus({ preventScroll: true });
    cell.scrollIntoView({ block: "center", inline: "nearest" });
  }

  field.addEventListener("input", search);
  field.addEventListener("blur", closeHits);
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length && !hits.hidden) {
      event.preventDefault();
      choose((chosen + step + found.length) % found.length);
    }
    if (event.key === "Enter" && found.length && !hits.hidden) visit(chosen);
    if (event.key === "Escape") closeHits();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea")) return;
    event.preventDefault();
    field.focus();
    field.select();
  });

  // ---- print: what is folded is opened for the time of printing

  let opened = [];
  window.addEventListener("beforeprint", () => {
    later.all();
    const folded = document.querySelectorAll("details.fold:not([open]), details.rest:not([open]), #provenance details:not([open])");
    opened = [...folded]; // not the numbers of charts, nor the further methods: they would fill a hundred pages
    for (const one of opened) one.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });
})();
