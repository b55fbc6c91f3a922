// Values of a chart by pointer and arrow keys: the text below it holds its numbers and the places of its points.
(() => {
  const known = new WeakMap(); // what was read from a chart that the reader has pointed at or whose numbers are open

  function read(figure) {
    const svg = figure.querySelector(".plot svg");
    const text = figure.querySelector(".rows");
    const [heads, ...rows] = text.textContent.trimEnd().split("\n").map((line) => line.split("\t"));
    const places = text.dataset.at.split(";").map((place) => place.split(" ").map(parseFloat));
    const spots = rows.map((cells, number) => {
      const [x, y = null] = places[number];
      const lines = cells.slice(1).map((text, i) => [heads[i + 1], text]).filter((pair) => pair[1] !== "\u2013");
      const first = figure.dataset.kind === "line" ? `${heads[0]} ${cells[0]}` : cells[0];
      return {
        x,
        y,
        text: [first, ...lines.map(([name, text]) => `${name}: ${text}`)].join("\n"),
      };
    });
    const [cursor, halo] = [svg.querySelector(".cursor"), svg.querySelector(".halo")];
    return { kind: figure.dataset.kind, svg, cursor, halo, heads, rows, spots, at: -1 };
  }

  function chartOf(target) {
    const part = target.closest ? target.closest("figure.chart .plot, figure.chart .numbers") : null;
    if (!part) return null;
    const figure = part.closest("figure");
    if (!known.has(figure)) known.set(figure, read(figure));
    return known.get(figure);
  }

  // ---- the numbers as a table, made of their text when they are opened

  function element(name, attributes, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  }

  function tableOf(chart, title) {
    const caption = element("caption", { class: "sr" }, title);
    const named = (at) => (at === 0 ? { class: "name" } : {});
    const heads = chart.heads.map((text, at) =>
      element("th", { scope: "col", ...named(at) }, element("button", { type: "button" }, text)));
    const rows = chart.rows.map((cells) => element("tr", {}, ...cells.map((text, at) =>
      at === 0 ? element("th", { scope: "row", class: "name" }, text) : element("td", {}, text))));
    const parts = [caption, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)];
    return element("table", { class: "data sortable small" }, ...parts);
  }

  document.addEventListener("toggle", (event) => {
    const text = event.target.matches("details.numbers[open]") ? event.target.querySelector(".rows") : null;
    if (!text) return;
    const title = event.target.closest("figure").querySelector("figcaption").textContent;
    const frame = { class: "scroll", tabindex: "0", role: "region", "aria-label": `Numbers of: ${title}` };
    text.replaceWith(element("div", frame, tableOf(chartOf(text), title)));
  }, true);

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
