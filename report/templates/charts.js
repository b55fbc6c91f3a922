// Values of a chart by pointer and arrow keys: the rows of the table below it hold the places of its points.
(() => {
  const known = new WeakMap(); // what was read from a chart that the reader has pointed at

  function read(figure) {
    const svg = figure.querySelector(".plot svg");
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
    return { kind: figure.dataset.kind, svg, cursor: svg.querySelector(".cursor"), halo: svg.querySelector(".halo"), spots, at: -1 };
  }

  function chartOf(target) {
    const plot = target.closest ? target.closest("figure.chart .plot") : null;
    if (!plot) return null;
    const figure = plot.closest("figure");
    if (!known.has(figure)) known.set(figure, read(figure));
    return known.get(figure);
  }

  function show(chart, index) {
    chart.at = index;
    const spot = chart.spots[index];
    const whole = chart.svg.getBoundingClientRect();
    const scale = whole.width / chart.svg.viewBox.baseVal.width;
    if (spot.y === null) {
      chart.cursor.setAttribute("x1", spot.x);
      chart.cursor.setAttribute("x2", spot.x);
      chart.cursor.setAttribute("visibility", "visible");
    } else {
      chart.halo.setAttribute("cx", spot.x);
      chart.halo.setAttribute("cy", spot.y);
      chart.halo.setAttribute("visibility", "visible");
    }
    const down = spot.y === null ? 24 : spot.y;
    showTip(spot.text, whole.left + spot.x * scale, whole.top + down * scale);
  }

  function clear(chart) {
    chart.cursor.setAttribute("visibility", "hidden");
    chart.halo.setAttribute("visibility", "hidden");
    hideTip();
  }

  function nearest(chart, event) {
    const whole = chart.svg.getBoundingClientRect();
    const scale = chart.svg.viewBox.baseVal.width / whole.width;
    const [x, y] = [(event.clientX - whole.left) * scale, (event.clientY - whole.top) * scale];
    let [best, least] = [-1, chart.kind === "scatter" ? 24 : Infinity];
    chart.spots.forEach((spot, index) => {
      const across = chart.kind === "dots" ? 0 : spot.x - x;
      const distance = Math.hypot(across, spot.y === null ? 0 : spot.y - y);
      if (distance < least) [best, least] = [index, distance];
    });
    return best;
  }

  let pointed = null;
  document.addEventListener("pointermove", (event) => {
    const chart = event.target.closest && event.target.closest("svg") ? chartOf(event.target) : null;
    if (pointed && pointed !== chart) clear(pointed);
    pointed = chart;
    if (!chart) return;
    const best = nearest(chart, event);
    if (best < 0) clear(chart);
    else show(chart, best);
  });
  document.addEventListener("focusout", (event) => {
    const chart = chartOf(event.target);
    if (chart) clear(chart);
  });
  document.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const chart = (step || event.key === "Escape") && event.target.matches(".plot") ? chartOf(event.target) : null;
    if (!chart) return;
    if (event.key === "Escape") clear(chart);
    if (!step || !chart.spots.length) return;
    event.preventDefault();
    const { at, spots } = chart;
    show(chart, at < 0 ? (step > 0 ? 0 : spots.length - 1) : Math.max(0, Math.min(spots.length - 1, at + step)));
  });
})();
