"use strict";
// The slider and the choice of a map. Without it, all maps are listed below the picture.
(() => {
  const over = document.querySelector(".canvas .over");
  const layer = document.getElementById("layer");
  const strength = document.getElementById("strength");
  const words = document.getElementById("map-words");
  const lists = [...document.querySelectorAll(".kind")];

  function show() {
    const kind = document.querySelector("input[name=kind]:checked").value;
    for (const list of lists) list.hidden = list.dataset.kind !== kind;
    const items = [...lists.find((list) => !list.hidden).querySelectorAll("li")];
    items.forEach((item, number) => item.classList.toggle("current", number === Number(layer.value)));
    const image = items[layer.value].querySelector("img");
    over.src = image.src;
    over.alt = image.dataset.words;
    words.textContent = image.dataset.words;
    document.getElementById("layer-number").textContent = layer.value;
  }

  for (const list of lists) {
    [...list.querySelectorAll("li")].forEach((item, number) =>
      item.addEventListener("click", () => {
        layer.value = number;
        show();
      }),
    );
  }
  layer.addEventListener("input", show);
  strength.addEventListener("input", () => (over.style.opacity = strength.value / 100));
  for (const radio of document.querySelectorAll("input[name=kind]")) radio.addEventListener("change", show);
  const opened = () => lists.forEach((list) => (list.hidden = false));
  window.addEventListener("beforeprint", opened);
  window.addEventListener("afterprint", show);
  show();
})();
