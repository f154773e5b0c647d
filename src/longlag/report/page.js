for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const chart = JSON.parse(svg.dataset.chart), figure = svg.parentElement;
  const rule = document.createElementNS("http://www.w3.org/2000/svg", "line"), tip = document.createElement("div");
  rule.setAttribute("class", "rule"); tip.className = "tip"; tip.hidden = true; figure.append(tip);
  for (const [name, value] of [["y1", 12], ["y2", 256], ["visibility", "hidden"]]) rule.setAttribute(name, value);
  svg.append(rule);
  const hide = () => { tip.hidden = true; rule.setAttribute("visibility", "hidden"); };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointermove", event => {
    if (!chart.at.length) return;
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * 480;
    const near = chart.at.reduce((best, at, i) => Math.abs(at - x) < Math.abs(chart.at[best] - x) ? i : best, 0);
    rule.setAttribute("x1", chart.at[near]); rule.setAttribute("x2", chart.at[near]); rule.setAttribute("visibility", "visible");
    tip.replaceChildren(`${chart.x}: ${chart.xs[near]}`, ...chart.lines.filter(line => line.ys[near] !== null).map(line => {
      const row = document.createElement("div"); row.className = line.style; row.textContent = `${line.name}: ${line.ys[near]}`; return row; }));
    tip.hidden = false;
    const left = chart.at[near] / 480 * box.width, right = left > box.width / 2;
    tip.style.left = right ? "" : `${left + 10}px`; tip.style.right = right ? `${box.width - left + 10}px` : "";
    tip.style.top = `${svg.offsetTop + 20}px`;
  });
}
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0], up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[head.cellIndex].dataset.sort ?? row.cells[head.cellIndex].textContent;
  const order = (a, b) => { const [p, q] = [key(a), key(b)], n = p - q; return Number.isNaN(n) ? p.localeCompare(q) : n; };
  body.append(...[...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)));
});
