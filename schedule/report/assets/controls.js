// What keys, buttons and the mouse do.

function wireControls(page) {
  const { state } = page, timeline = byId("timeline");
  const all = () => page.chart.show(0, page.model.steps + 1);
  const around = (factor) => page.chart.zoom(factor, state.step + 0.5);
  const acts = {
    "+": () => around(0.5), "-": () => around(2), "0": all,
    p: () => page.go(Math.max(page.model.plan.peakStep, 0)),
    b: () => page.model.plan.turn >= 0 && page.go(page.model.plan.turn),
    "/": () => (byId("search").focus(), byId("search").select()),
    Escape: page.follow,
  };
  acts["="] = acts["+"];
  const jumps = {
    ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageDown: 100, PageUp: -100, Home: -Infinity, End: Infinity,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
    const jump = jumps[event.key];
    if (jump !== undefined) {
      if (![timeline, document.body, byId("detail-title")].includes(event.target)) return;
      const far = event.shiftKey && Math.abs(jump) === 1 ? 10 : 1;
      page.go(Number.isFinite(jump) ? state.step + far * jump : jump < 0 ? 0 : page.model.steps);
    } else if (acts[event.key]) {
      acts[event.key]();
      page.later();
    } else return;
    event.preventDefault();
  });
  const buttons = { "zoom-in": "+", "zoom-out": "-", "zoom-all": "0", "to-peak": "p", "to-turn": "b" };
  for (const [id, key] of Object.entries(buttons))
    byId(id).addEventListener("click", () => {
      acts[key]();
      page.later();
    });
  byId("step").addEventListener("change", (event) => page.go(Number(event.target.value)));
  wireMouse(page, timeline);
}

function wireMouse(page, timeline) {
  let drag = null;
  const inside = (event) => event.clientX - timeline.getBoundingClientRect().left;
  const shift = (pixels, from, to) => {
    const by = (pixels / page.chart.inner()) * (to - from);
    page.chart.show(from + by, to + by);
  };
  timeline.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    drag = { x: event.clientX, from: page.chart.view.from, to: page.chart.view.to, moved: false };
    timeline.setPointerCapture(event.pointerId);
  });
  timeline.addEventListener("pointermove", (event) => {
    if (drag && Math.abs(event.clientX - drag.x) > 4) drag.moved = true;
    if (drag?.moved) shift(drag.x - event.clientX, drag.from, drag.to);
    hover(page, timeline, page.chart.stepAt(inside(event)));
  });
  timeline.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) page.go(page.chart.stepAt(inside(event)));
    drag = null;
  });
  timeline.addEventListener("pointercancel", () => (drag = null));
  timeline.addEventListener("pointerleave", () => hover(page, timeline, null));
  timeline.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { from, to } = page.chart.view;
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) shift(event.deltaX, from, to);
    else page.chart.zoom(1.0015 ** event.deltaY, page.chart.stepAt(inside(event)) + 0.5);
    page.later();
  }, { passive: false });
}

// Show what there is at step s, beside the mouse; null: the mouse is elsewhere.
function hover(page, timeline, s) {
  const { model, chart } = page, hint = byId("hint");
  page.state.hover = s;
  hint.hidden = s === null;
  page.drawOver();
  if (s === null) return;
  const plain = s < model.plain.length ? `\nas it is, at its step ${s}: ${model.sizeText(model.plain[s])}` : "";
  hint.textContent = `step ${s}: ${model.stepText(s)}\n${model.sizeText(model.memory[s])} in use${plain}`;
  const left = chart.x(s + 0.5), right = left > timeline.clientWidth / 2;
  hint.style.left = right ? "" : `${left + 12}px`;
  hint.style.right = right ? `${timeline.clientWidth - left + 12}px` : "";
}
