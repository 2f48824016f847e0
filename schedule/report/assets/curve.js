// The curve of a sweep, compute over budgets, and the budget whose plan is looked at.

function showCurve(page) {
  const { curve, plainPeak, first } = page.data;
  if (!curve) return;
  byId("curve").hidden = false;
  const sizeText = sizesUpTo(plainPeak), rows = curve.map((point) => curveRow(page, point, sizeText));
  byId("budgets").replaceChildren(...rows);
  select(page, first);
  const draw = () => byId("curve-plot").replaceChildren(...curvePlot(page, sizeText));
  new ResizeObserver(draw).observe(byId("curve-plot"));
}
function select(page, k) {
  page.data.curve.forEach((point, at) => {
    const row = byId("budgets").children[at];
    row.classList.toggle("current", point.plan === k);
    row.querySelector("button")?.setAttribute("aria-pressed", String(point.plan === k));
  });
  for (const dot of byId("curve-plot").querySelectorAll("circle"))
    dot.classList.toggle("current", dot.dataset.plan === String(k));
}
function look(page, k) {
  page.state.pinned = null;
  page.open(k);
  select(page, k);
}
function curveRow(page, point, sizeText) {
  const share = (value) => (value === null ? "–" : overheadText(value)), size = sizeText(point.budget);
  const name = point.plan < 0 ? size : button(size, () => look(page, point.plan), { class: "link", "aria-label": `show the plan for ${size}` });
  const numbers = [percentText(point.share), share(point.overhead), share(point.bound), point.peak === null ? "–" : sizeText(point.peak)];
  return element("tr", [
    element("td", name), ...numbers.map((text) => element("td", text, { class: "figure" })),
    element("td", point.knee ? `${point.status}, the knee` : point.status, { class: "soft" }),
  ]);
}

// The plot as elements of an SVG of the box's size: compute of each plan, and what is proved.
function curvePlot(page, sizeText) {
  const box = byId("curve-plot"), width = box.clientWidth, height = box.clientHeight;
  const edge = { left: 56, right: 16, top: 14, bottom: 34 }, points = page.data.curve;
  const budgets = points.map((point) => point.budget), [low, high] = [Math.min(...budgets), Math.max(...budgets)];
  const most = Math.max(0.01, ...points.map((point) => point.overhead ?? point.bound ?? 0)) * 1.08;
  const x = (budget) => edge.left + ((budget - low) / (high - low || 1)) * (width - edge.left - edge.right);
  const y = (overhead) => height - edge.bottom - (overhead / most) * (height - edge.top - edge.bottom);
  const made = [], text = (px, py, content, anchor) => made.push(drawing("text", { x: px, y: py, "text-anchor": anchor }, content));
  const small = points.filter((point) => point.status === "infeasible"), step = roundStep(most / 4);
  if (small.length) {
    const to = x(Math.max(...small.map((point) => point.budget)));
    made.push(drawing("rect", { x: edge.left, y: edge.top, width: to - edge.left, height: y(0) - edge.top, class: "small" }));
    if (to - edge.left > 70) text((edge.left + to) / 2, y(0) - 8, "nothing fits", "middle");
  }
  for (let value = 0; value < most; value += step) {
    made.push(drawing("line", { x1: edge.left, x2: width - edge.right, y1: y(value), y2: y(value), class: "grid" }));
    text(edge.left - 8, y(value) + 4, percentText(value, "+"), "end");
  }
  // Ticks at the points, and their budgets as far as there is room: the last one, and then the next.
  const under = height - edge.bottom;
  let free = Infinity;
  for (const point of [...points].sort((a, b) => b.budget - a.budget)) {
    const at = x(point.budget), last = free === Infinity;
    made.push(drawing("line", { x1: at, x2: at, y1: under, y2: under + 4, class: "tick" }));
    if (at > free || (!last && at < edge.left + 30)) continue;
    text(at, under + 18, sizeText(point.budget), last ? "end" : "middle");
    free = at - (last ? 115 : 85);
  }
  // A schedule fits all larger budgets, a bound holds for all smaller ones.
  const line = (key, shown, later) => {
    const known = points.filter((point) => point[key] !== null), corners = [];
    known.forEach((point, at) => {
      if (at) corners.push(later ? [point.budget, known[at - 1][key]] : [known[at - 1].budget, point[key]]);
      corners.push([point.budget, point[key]]);
    });
    made.push(drawing("polyline", { points: corners.map(([budget, value]) => `${x(budget)},${y(value)}`).join(" "), class: shown }));
  };
  line("bound", "bound", false);
  line("overhead", "planned", true);
  for (const point of points.filter((point) => point.plan >= 0)) made.push(curveDot(page, point, x, y, sizeText));
  return made;
}
function curveDot(page, point, x, y, sizeText) {
  const dot = drawing("circle", { cx: x(point.budget), cy: y(point.overhead), r: point.knee ? 7 : 5, "data-plan": point.plan });
  dot.append(drawing("title", {}, `${sizeText(point.budget)}: ${overheadText(point.overhead)} compute`));
  dot.addEventListener("click", () => look(page, point.plan));
  dot.classList.toggle("current", page.model.plan === page.data.plans[point.plan]);
  return dot;
}
