"use strict";
// Sorting, what stands behind a cell, footnotes, columns out of sight, the paper's values. All can be read without it.
// All scripts run before the tables are parsed and listen on the document, so that a page of any size answers at once.
const tip = document.getElementById("tip");

function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const wide = document.documentElement.clientWidth;
  const left = Math.max(8, Math.min(x + 14, wide - box.width - 8));
  const above = y - box.height - 14;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 8 ? above : y + 18}px`;
}

function hideTip() {
  tip.hidden = true;
}

(() => {
  // ---- tables: sorting

  function key(row, column) {
    const cell = row.cells[column];
    const given = cell.dataset.v;
    const text = given === undefined ? cell.textContent.trim() : given;
    const value = parseFloat(text.replace("\u2212", "-"));
    return { text, value: /^[+\-\u2212]?[\d.]/.test(text) && !Number.isNaN(value) ? value : null };
  }

  function compare(a, b, sign) {
    if ((a.value === null) !== (b.value === null)) return a.value === null ? 1 : -1; // what has no value comes last
    if (a.value !== null) return sign * (a.value - b.value);
    if (!a.text !== !b.text) return a.text ? -1 : 1;
    return sign * a.text.localeCompare(b.text);
  }

  // The column that a head stands over, whatever spans stand before it.
  function columnOf(table, head) {
    const taken = [];
    let found = -1;
    [...table.tHead.rows].forEach((row, r) => {
      let column = 0;
      for (const cell of row.cells) {
        while (taken[r] && taken[r][column]) column += 1;
        if (cell === head) found = column;
        for (let i = r; i < r + cell.rowSpan; i += 1) {
          taken[i] = taken[i] || [];
          for (let j = column; j < column + cell.colSpan; j += 1) taken[i][j] = true;
        }
      }
    });
    return found;
  }

  const originals = new WeakMap(); // each table's rows as they came

  function sort(button) {
    const [head, table] = [button.closest("th"), button.closest("table")];
    const [body, column] = [table.tBodies[0], columnOf(table, head)];
    if (!originals.has(table)) originals.set(table, [...body.rows]);
    const before = head.getAttribute("aria-sort");
    const rows = originals.get(table).filter((row) => !row.classList.contains("total"));
    const last = originals.get(table).filter((row) => row.classList.contains("total"));
    const numeric = rows.some((row) => key(row, column).value !== null);
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const next = before === first ? second : before === second ? null : first;
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    if (next) {
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      rows.sort((a, b) => compare(key(a, column), key(b, column), sign));
    }
    body.append(...rows, ...last);
  }

  // ---- tables: what stands behind a cell

  document.addEventListener("pointerover", (event) => {
    const cell = event.target.closest ? event.target.closest("td[aria-describedby]") : null;
    if (!cell) return;
    const note = document.getElementById(cell.getAttribute("aria-describedby")).textContent;
    const box = cell.getBoundingClientRect();
    showTip(note, box.left + box.width / 2 - 14, box.top + 6);
    cell.addEventListener("pointerleave", hideTip, { once: true });
  });

  function toggleNotes(button) {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    document.getElementById(button.getAttribute("aria-controls")).classList.toggle("open", open);
    button.closest("article").classList.toggle("with-notes", open);
  }

  function togglePaper(button) {
    button.setAttribute("aria-pressed", String(document.body.classList.toggle("with-paper")));
  }

  // ---- tables: the columns out of sight, moved into sight by as many as fit

  function watchColumns(scroll) {
    const frame = scroll.closest(".window");
    const button = frame.querySelector(".more-columns");
    function update() {
      const heads = [...scroll.querySelectorAll("thead th")].slice(1);
      const edge = scroll.getBoundingClientRect().right + 1;
      const hidden = heads.filter((head) => head.getBoundingClientRect().right > edge).length;
      const moved = scroll.scrollLeft > 1;
      button.hidden = !hidden && !moved;
      button.textContent = hidden ? `${hidden} more column${hidden > 1 ? "s" : ""} \u2192` : "\u2190 first columns";
      frame.classList.toggle("has-more", hidden > 0);
      scroll.classList.toggle("moved", moved);
    }
    button.addEventListener("click", () => {
      const hidden = frame.classList.contains("has-more");
      const name = scroll.querySelector("th.name").getBoundingClientRect().width;
      scroll.scrollTo({ left: hidden ? scroll.scrollLeft + scroll.clientWidth - name : 0 });
    });
    scroll.addEventListener("scroll", update, { passive: true });
    new ResizeObserver(update).observe(scroll); // also tells when a closed section opens
  }

  const watchAll = (elements) => elements.forEach((one) => one.querySelectorAll(".scroll.grid").forEach(watchColumns));
  document.addEventListener("DOMContentLoaded", () => watchAll([document]));
  document.addEventListener("read", (event) => watchAll(event.detail)); // what stood closed, see later.js
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.closest("table.sortable thead")) sort(button);
    else if (button.closest(".more")) toggleNotes(button);
    else if (button.id === "with-paper") togglePaper(button);
  });
})();
