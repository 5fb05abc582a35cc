"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (value) => getComputedStyle(root).getPropertyValue("--" + value.slice(1)).trim();
  // names of colours stand where plotly expects a colour; a title of a document may look like one
  const coloured = (value, key = "") => {
    if (typeof value === "string") return /color$/.test(key) && /^\$[a-z]+$/.test(value) ? colour(value) : value;
    if (Array.isArray(value)) return value.map((inner) => coloured(inner, key));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, coloured(inner, name)]));
  };
  const draw = () => {
    for (const data of document.querySelectorAll("script[type='application/json'][data-figure]")) {
      const figure = coloured(JSON.parse(data.textContent));
      Plotly.react(data.dataset.figure, figure.data, figure.layout, { displayModeBar: false, responsive: true });
    }
  };
  dark.addEventListener("change", draw);
  draw();
})();
