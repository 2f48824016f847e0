// The search for a node or tensor: a combobox with a list of what is found.

function wireSearch(page) {
  const { graph, names, inputs, kindOfNode } = page.model, search = byId("search"), list = byId("found"), most = 50;
  const places = graph.nodes.map((name, v) => ({ name, low: name.toLowerCase(), what: { node: v }, sort: kindOfNode(v) }));
  names.forEach((name, t) => {
    const sort = t < inputs ? "input" : "tensor";
    if (graph.tensors[t] !== 0) places.push({ name, low: name.toLowerCase(), what: { tensor: t }, sort });
  });
  let hits = [], active = -1;

  function look() {
    const wanted = search.value.trim().toLowerCase();
    const rank = (x) => (x.low === wanted ? 0 : x.low.startsWith(wanted) ? 1 : 2);
    const all = wanted ? places.filter((x) => x.low.includes(wanted)) : [];
    hits = all.sort((a, b) => rank(a) - rank(b) || a.name.length - b.name.length).slice(0, most);
    list.replaceChildren(...hits.map((hit, k) => {
      const item = element("li", [hit.name, element("small", hit.sort)], { role: "option", id: `hit-${k}`, "aria-selected": "false" });
      item.addEventListener("mousedown", (event) => (event.preventDefault(), take(k)));
      return item;
    }));
    byId("none").hidden = !wanted || hits.length > 0;
    open(hits.length > 0);
    const shown = all.length > most ? `, the first ${most} of them listed` : "";
    if (wanted) page.say(`${plural(all.length, "name")} found${shown}`);
    mark(hits.length ? 0 : -1);
  }
  function open(there) {
    list.hidden = !there;
    search.setAttribute("aria-expanded", String(there));
    if (!there) search.removeAttribute("aria-activedescendant");
  }
  function mark(k) {
    list.children[active]?.setAttribute("aria-selected", "false");
    active = k;
    const item = list.children[k];
    if (!item) return;
    item.setAttribute("aria-selected", "true");
    item.scrollIntoView({ block: "nearest" });
    search.setAttribute("aria-activedescendant", item.id);
  }
  function close() {
    open(false);
    byId("none").hidden = true;
  }
  function take(k) {
    if (!hits[k]) return;
    close();
    page.choose(hits[k].what, true);
  }
  search.addEventListener("input", look);
  search.addEventListener("focus", look);
  search.addEventListener("blur", close);
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (hits.length) mark((active + (event.key === "ArrowDown" ? 1 : hits.length - 1)) % hits.length);
    } else if (event.key === "Enter") take(active);
    else if (event.key === "Escape") {
      search.value = "";
      close();
      byId("timeline").focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
}
