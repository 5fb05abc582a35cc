"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (value) => getComputedStyle(root).getPropertyValue("--" + value.slice(1)).trim();
  const coloured = (value) => {
    if (typeof value === "string") return /^\$[a-z]+$/.test(value) ? colour(value) : value;
    if (Array.isArray(value)) return value.map(coloured);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, coloured(inner)]));
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
