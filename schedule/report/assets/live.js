// What is in memory at a step, largest first, and why.

const fewRows = 40, moreRows = 200;

function showLive(page) {
  const { model, state } = page, step = state.step, found = model.shares(step);
  const total = found.reduce((sum, part) => sum + part.size, 0);
  byId("live-total").textContent = `at step ${step}: ${plural(found.length, "part")}, ${model.sizeText(total)}`;
  const rows = found.slice(0, state.rows).map((part) => {
    const name = part.node !== undefined ? page.nodeLink(part.node) : page.tensorLink(part.owner);
    const size = element("td", model.sizeText(part.size), { class: "number" });
    size.style.setProperty("--share", `${(100 * part.size) / found[0].size}%`);
    return element("tr", [element("td", name), size, element("td", whyLive(model, part, step), { class: "soft" })]);
  });
  byId("live").replaceChildren(...rows);
  const left = found.length - state.rows, more = byId("more");
  more.hidden = found.length <= fewRows;
  more.textContent = left > 0 ? `Show ${Math.min(left, moreRows)} more of ${found.length}` : `Show the largest ${fewRows}`;
  more.onclick = () => {
    state.rows = left > 0 ? state.rows + moreRows : fewRows;
    page.later();
  };
}

function whyLive(model, part, step) {
  const roles = { workspace: "workspace of this run", output: "being written", "second copy": "second copy while it runs" };
  if (roles[part.role]) return roles[part.role];
  let next = -1, reader = -1, result = false;
  for (const t of part.on) {
    const read = model.nextRead(t, step), stay = model.stayAt(t, step);
    if (read >= 0 && read <= stay[1] && (next < 0 || read < next)) [next, reader] = [read, t];
    result ||= model.isResult.has(t) && stay[1] >= model.steps;
  }
  const as = reader < 0 || reader === part.owner ? "" : `, as ${model.names[reader]}`;
  if (next === step) return `read now${as}`;
  if (next >= 0) return `read in ${plural(next - step, "step")} by ${model.graph.nodes[model.codes[next]]}${as}`;
  if (result) return "an output of the graph";
  return part.owner < model.inputs && model.graph.resident[part.owner] ? "resident input" : "not read again";
}
