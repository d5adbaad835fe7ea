"use strict";

// What a cell is sorted by: its number if it begins with one; a dash, which says none, comes last.
function keyOf(cell) {
  const text = cell.textContent, number = parseFloat(text.replaceAll(",", ""));
  return text === "–" ? null : Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === typeof b && typeof a === "number") return a - b;
  return String(a).localeCompare(String(b));
}

// All rows; of very many, those in the second body are hidden.
function rowsOf(table) {
  return [...table.querySelectorAll("tbody tr")];
}

function sort(table, column) {
  const heads = [...table.tHead.rows[0].cells], [first, rest] = table.tBodies;
  const up = heads[column].getAttribute("aria-sort") !== "ascending", sign = up ? 1 : -1;
  const keyed = rowsOf(table).map((row) => [keyOf(row.cells[column]), row]);
  keyed.sort(([a], [b]) => compare(a, b) * (a === null || b === null ? 1 : sign));
  const rows = keyed.map(([, row]) => row), shown = first.rows.length;
  first.append(...rows.slice(0, shown));
  rest?.append(...rows.slice(shown));
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
}

for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => sort(table, column));
  });
  const all = table.parentElement.nextElementSibling?.querySelector("input");
  all?.addEventListener("change", () => table.classList.toggle("all", all.checked));
}

// The picture of all clients: each has an equal part of the width, in the order of the table.
for (const rank of document.querySelectorAll(".rank")) {
  const table = document.getElementById(rank.dataset.table), rows = rowsOf(table);
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const [inner] = rank.children, line = rank.querySelector("i"), note = rank.nextElementSibling;
  const left = Number(rank.dataset.left), width = Number(rank.dataset.right) - left;
  let at = 0;

  function show(index) {
    at = Math.min(Math.max(index, 0), rows.length - 1);
    const cells = [...rows[at].cells];
    const text = names.map((name, i) => `${name} ${cells[i].textContent}`).join(" · ");
    line.style.left = `${left + (width * (at + 0.5)) / rows.length}%`;
    line.style.visibility = "visible";
    note.textContent = text;
    rank.setAttribute("aria-valuenow", at + 1);
    rank.setAttribute("aria-valuetext", text);
  }

  function under(event) {
    const box = inner.getBoundingClientRect();
    const share = (100 * (event.clientX - box.left)) / box.width;
    return Math.floor(((share - left) / width) * rows.length);
  }

  function mark() {
    table.querySelector(".marked")?.classList.remove("marked");
    rows[at].classList.add("marked");
    table.tBodies[0].prepend(rows[at]);
    table.parentElement.scrollTop = 0;
  }

  rank.addEventListener("pointermove", (event) => show(under(event)));
  rank.addEventListener("click", (event) => { show(under(event)); mark(); });
  rank.addEventListener("focus", () => show(at));
  rank.addEventListener("keydown", (event) => {
    const page = Math.ceil(rows.length / 10);
    const steps = {
      ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -page, PageUp: page,
      Home: -rows.length, End: rows.length, Enter: 0,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(at + steps[event.key]);
    rank.scrollLeft = line.offsetLeft - rank.clientWidth / 2;
    if (event.key === "Enter") mark();
  });
}
