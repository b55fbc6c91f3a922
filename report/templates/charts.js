// Values of a chart by pointer and arrow keys: the rows of the table below it hold the places of its points.
(() => {
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
})();
