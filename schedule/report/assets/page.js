// The page: what is looked at, and what is shown of it.

function makePage(data) {
  const timeline = byId("timeline");
  // `pinned` is the node or tensor that was chosen; null: whatever the step is about.
  const state = { step: 0, hover: null, pinned: null, rows: fewRows, waiting: false };
  const page = {
    data, state, model: null, chart: null, open, go, follow, choose, chosen, tensorsOf, nameOf, drawOver, later, say,
    nodeLink: (v) => button(page.model.graph.nodes[v], () => choose({ node: v })),
    tensorLink: (t) => button(page.model.names[t], () => choose({ tensor: t })),
    stepLink: (s) => {
      const place = s < 0 ? "start" : s >= page.model.steps ? "end" : String(s);
      const act = () => {
        go(s);
        timeline.focus(); // the link itself is made anew
      };
      return button(place, act, { class: "link", "aria-label": `go to step ${place}` });
    },
  };

  // Look at a plan, the k-th of the page, beginning at its peak.
  function open(k) {
    const model = makeModel(data, data.plans[k]), { plan } = model;
    page.model = model;
    page.chart = makeChart(model, timeline, byId("chart"), byId("marks"));
    showFigures(page);
    byId("step").max = model.steps;
    byId("to-turn").hidden = plan.turn < 0;
    byId("legend-budget").hidden = plan.budget === null;
    for (const part of document.querySelectorAll(".passes")) part.hidden = !page.model.passes;
    timeline.setAttribute("aria-valuemax", model.steps);
    page.chart.fit();
    go(Math.max(plan.peakStep, 0));
  }
  function go(step) {
    const { model, chart } = page;
    state.step = Math.min(Math.max(Math.round(step) || 0, 0), model.steps);
    chart.reveal(state.step);
    const text = `step ${state.step}: ${model.stepText(state.step)}, ${model.sizeText(model.memory[state.step])} in use`;
    timeline.setAttribute("aria-valuenow", state.step);
    timeline.setAttribute("aria-valuetext", text);
    if (document.activeElement !== timeline) say(text);
    later();
  }
  function chosen() {
    if (state.pinned) return state.pinned;
    if (state.step >= page.model.steps) return null;
    const code = page.model.codes[state.step];
    return code >= 0 ? { node: code } : { tensor: page.model.moved(code).tensor };
  }
  function tensorsOf(what) {
    if (!what) return [];
    return what.tensor !== undefined ? [what.tensor] : page.model.outputs(what.node);
  }
  function nameOf(what) {
    return what.tensor !== undefined ? page.model.names[what.tensor] : page.model.graph.nodes[what.node];
  }
  // Look at a node or tensor; where `move`, at the step that first runs or makes it, too.
  function choose(what, move = false) {
    const { runsAt, stays } = page.model;
    state.pinned = what;
    const at = what.node !== undefined ? runsAt[what.node][0] : stays[what.tensor][0]?.[0];
    if (move && at !== undefined) go(at);
    render();
    byId("detail-title").focus(); // what was chosen from is made anew
  }
  function follow() {
    if (!state.pinned) return;
    state.pinned = null;
    render();
    byId("detail-title").focus();
  }
  function say(text) {
    byId("said").textContent = text;
  }
  // However many keys arrive between two frames, what is shown is made once.
  function later() {
    if (state.waiting) return;
    state.waiting = true;
    requestAnimationFrame(() => {
      state.waiting = false;
      render();
    });
  }
  function drawOver() {
    page.chart.drawOver(state.step, state.hover, tensorsOf(chosen()), state.pinned !== null);
  }
  function render() {
    const { model } = page, { plan, sizeText } = model, step = state.step, used = model.memory[step];
    drawOver();
    byId("step").value = step;
    const budget = plan.budget ? `, ${percentText(used / plan.budget)} of the budget` : "";
    byId("at").textContent = `Step ${step} of ${model.steps}: ${model.stepText(step)} · ${sizeText(used)} in use${budget}`;
    showLive(page);
    showWhy(page);
  }
  return page;
}

function showFigures(page) {
  const { model, data } = page, { plan, graph, sizeText } = model;
  const again = model.runsAt.reduce((sum, runs) => sum + Math.max(0, runs.length - 1), 0);
  const found = [
    ["peak", sizeText(plan.peak)],
    ["budget", plan.budget === null ? null : sizeText(plan.budget)],
    ["peak as it is", sizeText(data.plainPeak)],
    ["compute", overheadText(plan.overhead)],
    ["makespan", plan.makespan === null || !model.total ? null : overheadText(plan.makespan / model.total - 1)],
    ["proved bound", plan.bound === null ? null : overheadText(plan.bound)],
    ["steps", countText(model.steps)],
    ["runs again", countText(again)],
    ["checkpoints", plan.turn < 0 ? null : countText(plan.checkpoints)],
  ];
  const figure = ([label, value]) => element("div", [element("dt", label), element("dd", value)]);
  byId("figures").replaceChildren(...found.filter((x) => x[1] !== null).map(figure));
  const parts = [plural(graph.nodes.length, "node"), plural(model.count, "tensor")];
  if (plan.solver) parts.push(`planned by ${plan.solver}, ${plan.order} order`, plan.status);
  byId("subtitle").textContent = parts.join(" · ");
}

const page = makePage(JSON.parse(byId("data").textContent));
page.open(page.data.first);
wireSearch(page);
wireControls(page);
showCurve(page);
const refit = () => {
  page.chart.fit();
  page.later();
};
new ResizeObserver(refit).observe(byId("timeline"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refit);
