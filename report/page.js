"use strict";

const number = (text) => {
  const found = text.replace(/−/g, "-").replace(/[^\d.+-]*([+-]?\d+(\.\d+)?).*/s, "$1");
  return found === "" || Number.isNaN(Number(found)) ? null : Number(found);
};

const compare = (one, other) => {
  const [first, second] = [number(one), number(other)];
  if (first !== null && second !== null) return first - second;
  if (first !== null || second !== null) return first === null ? -1 : 1;
  return one.localeCompare(other);
};

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  headings.forEach((heading, place) => {
    const button = heading.querySelector("button");
    if (!button) return;
    const isNumber = heading.classList.contains("number");
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      const first = isNumber ? "descending" : "ascending";
      const other = isNumber ? "ascending" : "descending";
      const order = before === first ? other : first;
      headings.forEach((cell) => cell.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const text = (row) => row.cells[place].textContent.trim();
      const by = isNumber ? compare : (one, two) => one.localeCompare(two, undefined, { numeric: true });
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, two) => {
        const controls = one.classList.contains("control") - two.classList.contains("control");
        return controls || sign * by(text(one), text(two));
      });
      table.tBodies[0].append(...rows);
    });
  });
}

for (const input of document.querySelectorAll(".search input")) {
  const table = document.getElementById(input.getAttribute("aria-controls"));
  const output = input.closest(".search").querySelector("output");
  const rows = [...table.tBodies[0].rows];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLocaleLowerCase()]));
  input.addEventListener("input", () => {
    const words = input.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => texts.get(row).includes(word));
      shown += !row.hidden;
    }
    output.textContent = words.length ? `${shown} of ${rows.length} utterances` : `${rows.length} utterances`;
  });
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
