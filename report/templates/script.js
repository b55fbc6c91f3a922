"use strict";
// Sorting, reading values by pointer or arrow keys, footnotes, print. The page can be read without any of it.
(() => {
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

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    for (const button of table.tHead.querySelectorAll("button")) {
      const head = button.closest("th");
      const column = columnOf(table, head);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const rows = original.filter((row) => !row.classList.contains("total"));
        const last = original.filter((row) => row.classList.contains("total"));
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
      });
    }
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

  for (const button of document.querySelectorAll("button.toggle")) {
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      document.getElementById(button.getAttribute("aria-controls")).classList.toggle("open", open);
      button.closest("article").classList.toggle("with-notes", open);
    });
  }

  // ---- charts: the rows of the table below hold the places of the points

  for (const figure of document.querySelectorAll("figure.chart")) {
    const plot = figure.querySelector(".plot");
    const svg = plot.querySelector("svg");
    const [cursor, halo] = [svg.querySelector(".cursor"), svg.querySelector(".halo")];
    const table = figure.querySelector("table");
    const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    const spots = [...table.tBodies[0].rows].map((row) => {
      const cells = [...row.cells].map((cell) => cell.textContent);
      const lines = cells.slice(1).map((text, i) => [heads[i + 1], text]).filter((pair) => pair[1] !== "\u2013");
      const first = figure.dataset.kind === "line" ? `${heads[0]} ${cells[0]}` : cells[0];
      return {
        x: parseFloat(row.dataset.x),
        y: row.dataset.y === undefined ? null : parseFloat(row.dataset.y),
        text: [first, ...lines.map(([name, text]) => `${name}: ${text}`)].join("\n"),
      };
    });
    let at = -1;

    function show(index) {
      at = index;
      const spot = spots[index];
      const whole = svg.getBoundingClientRect();
      const scale = whole.width / svg.viewBox.baseVal.width;
      if (spot.y === null) {
        cursor.setAttribute("x1", spot.x);
        cursor.setAttribute("x2", spot.x);
        cursor.setAttribute("visibility", "visible");
      } else {
        halo.setAttribute("cx", spot.x);
        halo.setAttribute("cy", spot.y);
        halo.setAttribute("visibility", "visible");
      }
      const down = spot.y === null ? 24 : spot.y;
      showTip(spot.text, whole.left + spot.x * scale, whole.top + down * scale);
    }

    function clear() {
      cursor.setAttribute("visibility", "hidden");
      halo.setAttribute("visibility", "hidden");
      hideTip();
    }

    svg.addEventListener("pointermove", (event) => {
      const whole = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / whole.width;
      const [x, y] = [(event.clientX - whole.left) * scale, (event.clientY - whole.top) * scale];
      let [best, nearest] = [-1, figure.dataset.kind === "scatter" ? 24 : Infinity];
      spots.forEach((spot, index) => {
        const across = figure.dataset.kind === "dots" ? 0 : spot.x - x;
        const distance = Math.hypot(across, spot.y === null ? 0 : spot.y - y);
        if (distance < nearest) [best, nearest] = [index, distance];
      });
      if (best < 0) clear();
      else show(best);
    });
    svg.addEventListener("pointerleave", clear);
    plot.addEventListener("blur", clear);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") clear();
      if (!step || !spots.length) return;
      event.preventDefault();
      show(at < 0 ? (step > 0 ? 0 : spots.length - 1) : Math.max(0, Math.min(spots.length - 1, at + step)));
    });
  }

  // ---- print: samples and config that are folded are opened for the time of printing

  let opened = [];
  window.addEventListener("beforeprint", () => {
    const folded = document.querySelectorAll("details.rest:not([open]), #provenance details:not([open])");
    opened = [...folded]; // not the numbers of charts, nor the further methods: they would fill a hundred pages
    for (const one of opened) one.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });
})();
