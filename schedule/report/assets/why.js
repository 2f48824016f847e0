// One node or tensor: why it is in memory at this step or isn't, what it costs, what is around it.

function showWhy(page) {
  const { model, state } = page, what = page.chosen(), body = byId("detail-body");
  body.replaceChildren();
  byId("detail-title").textContent = what ? page.nameOf(what) : "What and why";
  byId("detail-kind").textContent = what ? kindText(model, what) : "";
  if (!what) {
    body.append(element("p", "Choose a step, or a node or tensor.", { class: "soft" }));
    return;
  }
  if (state.pinned) body.append(button("Follow the step instead", page.follow, { id: "follow", title: "Esc" }));
  const tensors = page.tensorsOf(what), v = what.node ?? model.producer[what.tensor];
  for (const t of tensors.slice(0, 6)) body.append(...verdict(page, t, tensors.length > 1));
  if (tensors.length > 6) body.append(element("p", `and ${tensors.length - 6} more outputs`, { class: "soft" }));
  if (v >= 0) body.append(...nodeFacts(page, v));
  body.append(neighbourhood(page, what, v));
  connect(body.querySelector(".around"));
}
function kindText(model, what) {
  if (what.node !== undefined) return model.kindOfNode(what.node);
  const v = model.producer[what.tensor];
  if (v >= 0) return `tensor, written by ${model.graph.nodes[v]}`;
  return model.graph.resident[what.tensor] ? "resident input" : "freeable input";
}

function nodeFacts(page, v) {
  const { model } = page, { graph, total } = model, runs = model.runsAt[v], cost = graph.costs[v];
  const facts = [`Compute ${countText(cost)}${total ? ` (${percentText(cost / total)} of every node once)` : ""}`];
  if (graph.workspace[v]) facts.push(`workspace ${model.sizeText(graph.workspace[v])}`);
  if (!graph.again[v]) facts.push("must not run twice");
  const lines = [element("p", `${facts.join(", ")}.`)];
  if (!runs.length) return [...lines, element("p", "Never runs: no output needs it.")];
  const again = runs.length > 1 ? `, ${countText((runs.length - 1) * cost)} beyond the first` : "";
  const times = runs.length > 1 ? `Runs ${runs.length} times${again}: at steps ` : "Runs once, at step ";
  return [...lines, element("p", [times, commas(runs.map(page.stepLink), 30), "."])];
}

// Why tensor t is in memory at this step, or why it isn't.
function verdict(page, t, named) {
  const { model, state } = page, step = state.step, owner = model.storage[t];
  const stay = model.stayAt(t, step), next = model.nextStay(t, step);
  const lines = stay ? keptLines(page, t, stay) : awayLines(page, t);
  if (owner !== t) lines.push(["It is a view of ", page.tensorLink(owner), " and takes no memory of its own."]);
  const sort = model.live(owner, step).length || next?.[0] === step ? "" : " gone";
  const made = element("div", lines.map((line) => element("p", line)), { class: `verdict${sort}` });
  return named ? [element("h3", page.tensorLink(t)), made] : [made];
}

function keptLines(page, t, stay) {
  const { model, state } = page, step = state.step, size = model.sizeText(model.size(t));
  const read = model.nextRead(t, step), due = read >= 0 && read <= stay[1];
  const since = stay[0] < 0 ? ["there from the start"] : ["in memory since step ", page.stepLink(stay[0])];
  if (!due) return [[`${size}, `, since, "; ", ...lastWord(page, t, stay), "."]];
  const when = read === step ? "read at this step by " : ["next read at step ", page.stepLink(read), " by "];
  const lines = [[`${size}, `, since, "; ", when, page.nodeLink(model.codes[read]), "."]];
  if (t < model.inputs) return lines;
  const { blocked, runs, cost } = model.remaking(t, read);
  const costs = runs && `${countText(cost)}${model.total ? ` (${percentText(cost / model.total)} of every node once)` : ""}`;
  const through = runs?.length > 1 ? [`, ${runs.length} runs: `, commas(runs.map(page.nodeLink), 5)] : "";
  lines.push(blocked ? `It has to be kept: ${blocked}.` : [`Kept: to recompute it for that read would cost ${costs}`, through, "."]);
  if (read - step > 1 && model.size(t)) {
    const most = model.sizeText(model.memory[model.largest(step, read)]), owns = model.storage[t] === t;
    lines.push(`Until then ${owns ? "it" : "its storage"} holds ${size} for ${plural(read - step, "step")}, in which memory reaches ${most}.`);
  }
  return lines;
}
function lastWord(page, t, stay) {
  const { model } = page;
  if (stay[1] < model.steps) return ["not read again, freed at step ", page.stepLink(stay[1])];
  return [model.isResult.has(t) ? "an output of the graph, kept to the end" : "not read again, and never freed"];
}

function awayLines(page, t) {
  const { model, state } = page, step = state.step, size = model.sizeText(model.size(t));
  const next = model.nextStay(t, step), last = model.lastStay(t, step);
  if (next && next[0] === step && model.fetchedAt(step) === t) return [`${size}, being fetched at this step.`];
  if (next && next[0] === step) return [`${size}, being written at this step, ${last ? "not for the first time" : "for the first time"}.`];
  const holding = model.live(model.storage[t], step);
  if (holding.length) {
    const freed = last ? ["freed at step ", page.stepLink(last[1])] : ["not made yet"];
    return [[`${size}, `, freed, ", but its storage is in memory for ", commas(holding.map(page.tensorLink), 5), "."]];
  }
  if (!last) return [next ? [`${size}, not made yet: first at step `, page.stepLink(next[0]), "."] : "Never made: no output needs it."];
  if (!next) return [[`${size}, gone for good: freed at step `, page.stepLink(last[1]), ", and not read after that."]];
  return recomputedLines(page, t, last[1], next[0]);
}
function recomputedLines(page, t, freed, made) {
  const { model } = page, { graph, plan, sizeText } = model, size = sizeText(model.size(t));
  const read = model.nextRead(t, made), v = model.producer[t], fetched = model.fetchedAt(made) === t;
  const use = read < 0 ? "" : [" for ", page.nodeLink(model.codes[read]), " at step ", page.stepLink(read)];
  const [what, how] = fetched ? [`On ${plan.levels[0]}`, ", fetched at step "] : ["Recomputed", ", made again at step "];
  const lines = [[`${what}: ${size}, freed at step `, page.stepLink(freed), how, page.stepLink(made), use, "."]];
  const kept = model.keeping(t, freed + 1, made - 1);
  if (!kept.steps) return [...lines, `That spares nothing: it takes no memory.`];
  const cost = fetched ? [" and costs a copy there and back"] : [" and costs a run of ", page.nodeLink(v), `: ${countText(graph.costs[v])}`];
  lines.push([`That spares ${size} for ${plural(kept.steps, "step")}`, ...cost, "."]);
  if (plan.budget !== null && kept.most > plan.budget) {
    const over = `${sizeText(kept.most)} in use, more than the budget of ${sizeText(plan.budget)}`;
    lines.push(["Had it been kept, all else the same, step ", page.stepLink(kept.at), ` would have ${over}.`]);
  }
  return lines;
}

// The tensors that a node reads, the node, and the nodes that read what it writes.
function neighbourhood(page, what, v) {
  const { model, state } = page, step = state.step, writes = page.tensorsOf(what);
  const here = (t) => (model.stayAt(t, step) ? "" : " away");
  const reads = (v < 0 ? [] : model.graph.reads[v]).map((t) => {
    const maker = model.producer[t] < 0 ? "input" : `from ${model.graph.nodes[model.producer[t]]}`;
    const absent = here(t) ? ", not in memory" : "";
    return element("li", [page.tensorLink(t), element("small", `${model.sizeText(model.size(t))}, ${maker}${absent}`)], { class: `chip${here(t)}` });
  });
  const readers = writes.flatMap((t) => model.readers[t].map((u) => {
    const as = writes.length > 1 ? `${model.names[t]}, ` : "";
    return element("li", [page.nodeLink(u), element("small", `${as}${model.kindOfNode(u)}`)], { class: `chip${here(t)}` });
  }));
  const middle = element("li", v < 0 ? page.nameOf(what) : [page.nodeLink(v), element("small", model.kindOfNode(v))], { class: "chip this" });
  const column = (title, items, none) => {
    const few = items.slice(0, 12), list = element("ul", few), parts = [element("h3", title), few.length ? list : element("p", none, { class: "soft" })];
    if (items.length > few.length)
      parts.push(button(`and ${items.length - few.length} more`, (event) => {
        list.append(...items.slice(few.length));
        event.target.remove();
        list.children[few.length].querySelector("button").focus();
        connect(byId("detail-body").querySelector(".around"));
      }));
    return element("div", parts);
  };
  return element("div", [
    drawing("svg", { "aria-hidden": "true", class: "edges" }),
    column("reads", reads, "nothing"), column(v < 0 ? "input" : "node", [middle]), column("is read by", readers, "nothing"),
  ], { class: "around", role: "group", "aria-label": "Around it in the graph" });
}
// Draw the edges of a neighbourhood that is laid out, from chip to chip.
function connect(around) {
  const box = around.getBoundingClientRect(), middle = around.querySelector(".this").getBoundingClientRect();
  const columns = [...around.children].slice(1), y = (r) => r.top + r.height / 2 - box.top;
  const curve = (x0, y0, x1, y1) => `M${x0} ${y0}C${(x0 + x1) / 2} ${y0} ${(x0 + x1) / 2} ${y1} ${x1} ${y1}`;
  const chips = (column) => [...column.querySelectorAll(".chip")].map((chip) => [chip, chip.getBoundingClientRect()]);
  const paths = [
    ...chips(columns[0]).map(([chip, r]) => [chip, curve(r.right - box.left, y(r), middle.left - box.left, y(middle))]),
    ...chips(columns[2]).map(([chip, r]) => [chip, curve(middle.right - box.left, y(middle), r.left - box.left, y(r))]),
  ];
  around.firstChild.replaceChildren(
    ...paths.map(([chip, d]) => drawing("path", { d, class: chip.classList.contains("away") ? "away" : "" })),
  );
}
