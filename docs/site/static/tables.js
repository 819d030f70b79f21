// Sorts tables by a heading, and shows the rows that a search and a verdict leave. Without scripts all rows are there.
"use strict";

function text(cell) {
  return cell.dataset.sort || cell.textContent.trim();
}

function compare(one, other) {
  const numbers = [one, other].map((each) => (each === "" ? NaN : Number(each.replaceAll(",", ""))));
  return numbers.some(Number.isNaN) ? one.localeCompare(other) : numbers[0] - numbers[1];
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const rising = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, other) => (rising ? 1 : -1) * compare(text(one.cells[column]), text(other.cells[column])));
      table.tBodies[0].append(...rows);
    });
  });
}

for (const form of document.querySelectorAll("form.filter")) {
  const rows = [...document.getElementById(form.dataset.table).tBodies[0].rows];
  const [search, verdict, told] = [form.querySelector("input"), form.querySelector("select"), form.querySelector("output")];
  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const there = row.textContent.toLowerCase();
      const wanted = !verdict.value || row.dataset.outcomes.includes(`|${verdict.value}|`);
      row.hidden = !(wanted && words.every((word) => there.includes(word)));
    }
    told.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
}
