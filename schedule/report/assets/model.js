// What the data says: the graph as lists, and when each tensor is in memory.
// A step s ≥ 0 is looked at while it takes place; S, the number of steps, is the end.

function makeModel(data, plan) {
  const graph = data.graph, codes = plan.codes, steps = codes.length;
  const nodes = graph.nodes.length, inputs = graph.resident.length;
  const first = [inputs];
  for (const count of graph.outputs) first.push(first[first.length - 1] + count);
  const count = first[nodes], all = Array.from({ length: count }, (_, t) => t);
  const producer = new Int32Array(count).fill(-1);
  for (let v = 0; v < nodes; v++) producer.fill(v, first[v], first[v + 1]);
  const storage = graph.storage.map((distance, t) => t - distance);
  const names = graph.tensors.map((name, t) => (name === 0 ? graph.nodes[producer[t]] : name));
  const readers = all.map(() => []), readsAt = all.map(() => []), on = all.map(() => []);
  const runsAt = graph.nodes.map(() => []), stays = all.map(() => []);
  graph.reads.forEach((reads, v) => reads.forEach((t) => readers[t].push(v)));
  all.forEach((t) => on[storage[t]].push(t));

  // The first position in ascending `list` whose value is at least `value`.
  function place(list, value, key = (x) => x) {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (key(list[middle]) < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  const begin = (stay) => stay[0];
  // A stay of tensor t in memory is [the step that writes it, the step that frees it]: −1 for
  // an input, `steps` for what is live at the end. The last that begins before step s, …
  const lastStay = (t, s) => stays[t][place(stays[t], s, begin) - 1] ?? null;
  // … the first that begins at step s or later, …
  const nextStay = (t, s) => stays[t][place(stays[t], s, begin)] ?? null;
  // … and the one that the tensor is in just before step s, if it is in one.
  function stayAt(t, s) {
    const stay = lastStay(t, s);
    return stay && stay[1] >= s ? stay : null;
  }
  const nextRead = (t, s) => readsAt[t][place(readsAt[t], s)] ?? -1;
  const outputs = (v) => all.slice(first[v], first[v + 1]);
  const size = (t) => graph.sizes[storage[t]];
  // The tensors on a storage that are live just before step s.
  const live = (owner, s) => on[owner].filter((t) => stayAt(t, s));

  // What a code below 0 does: free a tensor, or copy it to a level below the device, or from one.
  function moved(code) {
    const block = Math.floor(~code / count), tensor = ~code % count, kinds = ["offload", "prefetch", "drop"];
    return block ? { kind: kinds[(block - 1) % 3], tensor, level: Math.floor((block + 2) / 3) } : { kind: "free", tensor, level: 0 };
  }
  // The tensor that step s brings back to the device; −1: it brings none.
  function fetchedAt(s) {
    if (s < 0 || s >= steps || codes[s] >= 0) return -1;
    const { kind, tensor, level } = moved(codes[s]);
    return kind === "prefetch" && level === 1 ? tensor : -1;
  }

  for (let t = 0; t < inputs; t++) stays[t].push([-1, steps]);
  codes.forEach((code, s) => {
    if (code < 0) {
      const { kind, tensor, level } = moved(code);
      if (kind === "free") stays[tensor][stays[tensor].length - 1][1] = s;
      else if (kind === "prefetch" && level === 1) stays[tensor].push([s, steps]);
      return;
    }
    runsAt[code].push(s);
    for (const t of graph.reads[code]) readsAt[t].push(s);
    for (let t = first[code]; t < first[code + 1]; t++) if (!stayAt(t, s)) stays[t].push([s, steps]);
  });

  // What makes up memory in use during step s, largest first.
  function shares(s) {
    const there = new Map(), fetched = fetchedAt(s);
    for (const t of all)
      if (t === fetched || stayAt(t, s)) {
        if (there.has(storage[t])) there.get(storage[t]).push(t);
        else there.set(storage[t], [t]);
      }
    const found = [];
    for (const [owner, on] of there) found.push({ name: names[owner], owner, on, size: graph.sizes[owner], role: "live" });
    const code = s < steps ? codes[s] : -1;
    if (code >= 0) {
      for (const t of outputs(code))
        found.push({ name: names[t], owner: t, on: [t], size: graph.sizes[t], role: there.has(t) ? "second copy" : "output" });
      found.push({ name: graph.nodes[code], node: code, on: [], size: graph.workspace[code], role: "workspace" });
    }
    return found.filter((x) => x.size).sort((a, b) => b.size - a.size || (a.name < b.name ? -1 : 1));
  }

  // What it would cost to have tensor t for step s had it been let go of: the nodes that would
  // have to run, from what else is live by then; or what stands in the way.
  function remaking(t, s) {
    const again = new Set(), waiting = [t];
    while (waiting.length) {
      const wanted = waiting.pop(), v = producer[wanted];
      if (v < 0) return { blocked: `the input ${names[wanted]} can't come back` };
      if (again.has(v)) continue;
      if (!graph.again[v]) return { blocked: `${graph.nodes[v]} must not run twice` };
      again.add(v);
      waiting.push(...graph.reads[v].filter((read) => read === t || !stayAt(read, s)));
    }
    const runs = [...again].sort((a, b) => a - b);
    return { runs, cost: runs.reduce((sum, v) => sum + graph.costs[v], 0) };
  }

  const sum = (changes) => {
    let value = 0;
    return Float64Array.from(changes, (change) => (value += change));
  };
  const memory = sum(plan.memory);
  // Where memory is largest in the steps from … to, both included.
  function largest(from, to) {
    let at = from;
    for (let s = from; s <= to; s++) if (memory[s] > memory[at]) at = s;
    return at;
  }
  // What keeping tensor t in the steps from … to, in which it isn't live, would change: in how
  // many of them its storage isn't there, and the step and size of the largest memory with it.
  function keeping(t, from, to) {
    const found = { steps: 0, at: from, most: 0 };
    for (let s = from; s <= to; s++) {
      const more = live(storage[t], s).length ? 0 : size(t);
      if (more) found.steps++;
      if (memory[s] + more > found.most) [found.at, found.most] = [s, memory[s] + more];
    }
    return found;
  }
  // Of each step: is its run (a free: the run before it) backward, and one beyond the first?
  const backward = new Uint8Array(steps + 1), rerun = new Uint8Array(steps + 1);
  codes.forEach((code, s) => {
    backward[s] = code >= 0 ? graph.backward[code] : s ? backward[s - 1] : 0;
    rerun[s] = code >= 0 && runsAt[code][0] < s ? 1 : 0;
  });
  // What a node is called by its pass, where there are two.
  const passes = graph.backward.some(Boolean), kind = (v) => (graph.backward[v] ? "backward" : "forward");
  const kindOfNode = (v) => (passes ? `${kind(v)} node` : "node");
  function stepText(s) {
    if (s >= steps) return "the end";
    const code = codes[s];
    if (code < 0) {
      const { kind, tensor, level } = moved(code), where = level > 1 ? ` (${plan.levels[level - 1]})` : "";
      return `${kind} ${names[tensor]}${where}`;
    }
    const times = place(runsAt[code], s) + 1;
    const said = [...(passes ? [kind(code)] : []), ...(times > 1 ? [`run ${times} of it`] : [])];
    return `run ${graph.nodes[code]}${said.length ? ` (${said.join(", ")})` : ""}`;
  }
  return {
    graph, plan, codes, steps, inputs, count, producer, storage, names, readers, readsAt, runsAt, stays,
    memory, backward, rerun, lastStay, nextStay, stayAt, live, nextRead, outputs, size, shares, remaking,
    largest, keeping, passes, kindOfNode, stepText, place, fetchedAt, moved,
    plain: sum(data.plain), total: graph.costs.reduce((a, b) => a + b, 0), isResult: new Set(graph.results),
    sizeText: sizesUpTo(Math.max(data.plainPeak, plan.peak)),
  };
}
