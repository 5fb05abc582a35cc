"use strict";
(() => {
  const FIRST = 50; // rows until all are asked for
  const [table, box, tools, said, more] = ["library", "search", "tools", "found", "more"].map((id) => document.getElementById(id));
  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const rows = [...table.tBodies[0].rows].map((row) => {
    const texts = [...row.querySelectorAll("[data-search]")].map((part) => part.textContent);
    return { row, hit: row.querySelector(".hit"), title: fold(texts[0]), body: texts.slice(1).join("\n"), text: fold(texts.join("\n")) };
  });
  let all = false;

  // the words around the first one that the title does not have
  const mark = (one, words) => {
    one.hit.replaceChildren();
    const word = words.find((each) => !one.title.includes(each));
    const at = word ? one.body.toLowerCase().indexOf(word) : -1;
    one.hit.hidden = at < 0;
    if (at < 0) return;
    const found = document.createElement("mark");
    found.textContent = one.body.slice(at, at + word.length);
    const from = Math.max(0, at - 60);
    one.hit.append((from ? "…" : "") + one.body.slice(from, at), found, one.body.slice(at + word.length, at + word.length + 60) + "…");
  };

  const show = () => {
    const words = fold(box.value).split(/\s+/).filter(Boolean);
    const found = rows.filter((one) => words.every((word) => one.text.includes(word)));
    const shown = new Set(all ? found : found.slice(0, FIRST));
    for (const one of rows) {
      one.row.hidden = !shown.has(one);
      if (shown.has(one)) mark(one, words);
    }
    const [few, many] = [found.length, rows.length].map((number) => number.toLocaleString("en"));
    said.textContent = `${words.length ? `${few} of ` : ""}${many} ${rows.length === 1 ? "document" : "documents"}`;
    more.hidden = shown.size === found.length;
    more.textContent = `Show all ${few}`;
  };

  // what was not measured stays last, whichever way is up
  const sort = (column, up) => {
    const value = (one) => one.row.cells[column].dataset.value;
    const order = new Intl.Collator("en", { numeric: true });
    rows.sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === "" || right === "") return (left === "") - (right === "");
      return (up ? 1 : -1) * (column ? left - right : order.compare(left, right));
    });
    table.tBodies[0].append(...rows.map((one) => one.row));
    [...table.tHead.rows[0].cells].forEach((cell, n) => cell.setAttribute("aria-sort", n !== column ? "none" : up ? "ascending" : "descending"));
    show();
  };

  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const now = cell.getAttribute("aria-sort");
      sort(column, column ? now === "descending" : now !== "ascending"); // numbers begin with the largest, titles with A
    });
  });
  box.addEventListener("input", show);
  more.addEventListener("click", () => { all = true; show(); });
  tools.hidden = false;
  show();
})();
