// The timeline: memory over steps on one canvas, cursor and selection on another.
// A column of pixels shows the largest and the least of its steps, so a drawing costs
// one look at each visible step, and as many lines as there are columns.

function makeChart(model, box, base, over) {
  const { plan, sizeText } = model;
  const margin = { left: 78, right: 14, top: 16, bottom: 58 }, lane = 8;
  const view = { from: 0, to: model.steps + 1 };
  const largest = (values) => values.reduce((a, b) => Math.max(a, b), 0);
  const top = Math.max(1, plan.peak, largest(model.plain), plan.budget ?? 0) * 1.06;
  let width = 0, height = 0, colours = {};

  function fit() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ink", "soft", "edge", "planned", "fill", "plain", "budget", "forward", "backward", "turn", "rerun", "shade", "accent", "cursor", "card"])
      colours[name] = style.getPropertyValue(`--${name}`).trim();
    width = box.clientWidth;
    height = box.clientHeight;
    for (const canvas of [base, over]) {
      canvas.width = width * devicePixelRatio;
      canvas.height = height * devicePixelRatio;
    }
    drawBase();
  }
  function pen(canvas) {
    const context = canvas.getContext("2d");
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "11px system-ui, sans-serif";
    return context;
  }
  const inner = () => Math.max(1, width - margin.left - margin.right);
  const floor = () => height - margin.bottom;
  const x = (step) => margin.left + ((step - view.from) / (view.to - view.from)) * inner();
  const y = (value) => floor() - (value / top) * (floor() - margin.top);
  const stepAt = (px) => {
    const step = Math.floor(view.from + ((px - margin.left) / inner()) * (view.to - view.from));
    return Math.min(Math.max(step, 0), model.steps);
  };

  // Calls draw(px, from, to) for each column of pixels, with the steps from … to − 1 in it.
  function columns(end, draw) {
    const wide = (view.to - view.from) / inner();
    for (let px = 0; px < inner(); px++) {
      const from = Math.floor(view.from + px * wide);
      const to = Math.min(end, Math.max(from + 1, Math.floor(view.from + (px + 1) * wide)));
      if (from < to) draw(margin.left + px, from, to);
    }
  }
  function line(context, values, colour, thick, fill) {
    const path = [];
    columns(values.length, (px, from, to) => {
      let low = values[from], high = low;
      for (let s = from + 1; s < to; s++) {
        if (values[s] < low) low = values[s];
        if (values[s] > high) high = values[s];
      }
      path.push([px, y(high), y(low)]);
    });
    if (!path.length) return;
    if (fill) {
      context.beginPath();
      context.moveTo(path[0][0], floor());
      for (const [px, high] of path) context.lineTo(px, high);
      context.lineTo(path[path.length - 1][0], floor());
      context.fillStyle = fill;
      context.fill();
    }
    context.beginPath();
    context.moveTo(path[0][0], path[0][1]);
    let last = path[0][2];
    for (const [px, high, low] of path) {
      const near = Math.abs(last - high) < Math.abs(last - low) ? [high, low] : [low, high];
      context.lineTo(px, near[0]);
      context.lineTo(px, near[1]);
      last = near[1];
    }
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.lineJoin = "round";
    context.stroke();
  }
  function rule(context, x0, y0, x1, y1, colour, dash = []) {
    context.beginPath();
    context.setLineDash(dash);
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.strokeStyle = colour;
    context.lineWidth = 1;
    context.stroke();
    context.setLineDash([]);
  }
  function axes(context) {
    const unit = top >= 1e6 ? 1024 ** Math.min(4, Math.floor(Math.log2(top) / 10)) : 1;
    const apart = roundStep(top / unit / 5) * unit;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (let value = 0; value < top; value += apart) {
      rule(context, margin.left, Math.round(y(value)) + 0.5, width - margin.right, Math.round(y(value)) + 0.5, colours.edge);
      context.fillStyle = colours.soft;
      context.fillText(sizeText(value), margin.left - 8, y(value));
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    const distance = Math.max(1, roundStep((view.to - view.from) / Math.max(2, inner() / 90)));
    for (let s = Math.ceil(view.from / distance) * distance; s < view.to; s += distance)
      if (x(s) < width - 20) context.fillText(s.toLocaleString("en"), x(s), floor() + 3 * lane + 12);
    context.textAlign = "left";
    context.fillText("step", 20, floor() + 3 * lane + 12);
  }
  function drawBase() {
    const context = pen(base);
    if (plan.turn >= 0 && plan.turn < view.to) {
      const from = Math.max(margin.left, x(plan.turn));
      context.fillStyle = colours.shade;
      context.fillRect(from, margin.top - 8, width - margin.right - from, floor() - margin.top + 8);
    }
    axes(context);
    line(context, model.plain, colours.plain, 1);
    line(context, model.memory, colours.planned, 1.5, colours.fill);
    lanes(context);
    labels(context);
  }
  // A label, with room made for it where a line passes behind it.
  function write(context, text, px, py) {
    context.lineWidth = 3;
    context.lineJoin = "round";
    context.strokeStyle = colours.card;
    context.strokeText(text, px, py);
    context.fillText(text, px, py);
  }
  function labels(context) {
    context.textBaseline = "bottom";
    if (plan.budget !== null) {
      const at = Math.round(y(plan.budget)) + 0.5;
      rule(context, margin.left, at, width - margin.right, at, colours.budget, [5, 4]);
      const text = `budget ${sizeText(plan.budget)}`, long = context.measureText(text).width;
      // On the other side than the peak, which may be as high; nowhere, where that has no room.
      const px = x(plan.peakStep + 0.5), right = px < width / 2, free = right ? width - margin.right - px : px - margin.left;
      const isApart = plan.peakStep < view.from || plan.peakStep >= view.to || y(plan.peak) > at + 34;
      if (isApart || free > long + context.measureText(`peak ${sizeText(plan.peak)}`).width + 24) {
        context.fillStyle = colours.budget;
        context.textAlign = right ? "right" : "left";
        write(context, text, right ? width - margin.right - 4 : margin.left + 4, at - 3);
      }
    }
    if (plan.turn >= view.from && plan.turn < view.to) {
      const at = Math.round(x(plan.turn)) + 0.5;
      rule(context, at, margin.top - 8, at, floor(), colours.turn, [2, 3]);
      context.fillStyle = colours.turn;
      context.textAlign = at > width / 2 ? "right" : "left";
      write(context, "backward pass begins", at + (at > width / 2 ? -5 : 5), floor() - 5);
    }
    if (plan.peakStep >= view.from && plan.peakStep < view.to) {
      const [px, py] = [x(plan.peakStep + 0.5), y(plan.peak)];
      context.fillStyle = colours.planned;
      context.beginPath();
      context.arc(px, py, 3.5, 0, 7);
      context.fill();
      context.textAlign = px > width / 2 ? "right" : "left";
      context.textBaseline = "bottom";
      // Above the budget's line, where that is so near that it would go through the letters.
      const line = plan.budget === null ? py : y(plan.budget);
      const at = py - 17 < line && line < py ? line : py;
      write(context, `peak ${sizeText(plan.peak)}`, px + (px > width / 2 ? -8 : 8), at - 4);
    }
  }
  // Which pass the runs belong to, and below that which of them are runs beyond the first.
  function lanes(context) {
    columns(model.steps, (px, from, to) => {
      let backward = 0, again = 0;
      for (let s = from; s < to; s++) (backward += model.backward[s]), (again += model.rerun[s]);
      if (model.passes) {
        context.fillStyle = 2 * backward > to - from ? colours.backward : colours.forward;
        context.fillRect(px, floor() + 4, 1.2, lane);
      }
      if (again) {
        context.globalAlpha = 0.35 + (0.65 * again) / (to - from);
        context.fillStyle = colours.rerun;
        context.fillRect(px, floor() + 5 + lane, 1.2, lane);
        context.globalAlpha = 1;
      }
    });
  }
  // The cursor, where the mouse is, and when the tensors `chosen` are in memory and read; shaded
  // where they were chosen by hand.
  function drawOver(step, hover, chosen, pinned) {
    const context = pen(over), under = floor() + 7 + 2 * lane;
    for (const t of chosen) {
      context.fillStyle = colours.accent;
      for (const [from, to] of model.stays[t]) {
        const left = Math.max(margin.left, x(from + (from < 0))), right = Math.min(width - margin.right, x(to + 1));
        if (right <= left) continue;
        context.globalAlpha = 0.5;
        context.fillRect(left, under, Math.max(1.5, right - left), lane - 2);
        context.globalAlpha = pinned ? 0.1 : 0;
        context.fillRect(left, margin.top, Math.max(1.5, right - left), floor() - margin.top);
      }
      context.globalAlpha = 1;
      for (const read of model.readsAt[t])
        if (read >= view.from && read < view.to) context.fillRect(x(read + 0.5) - 0.75, under - 1, 1.5, lane);
    }
    if (hover !== null) rule(context, x(hover + 0.5), margin.top - 8, x(hover + 0.5), floor(), colours.soft, [1, 2]);
    if (step < view.from || step >= view.to) return;
    rule(context, x(step + 0.5), margin.top - 8, x(step + 0.5), under + lane, colours.cursor);
    context.fillStyle = colours.cursor;
    context.beginPath();
    context.arc(x(step + 0.5), y(model.memory[step]), 3, 0, 7);
    context.fill();
  }

  function show(from, to) {
    const all = model.steps + 1, wide = Math.min(all, Math.max(Math.min(12, all), to - from));
    view.from = Math.min(Math.max(0, from), all - wide);
    view.to = view.from + wide;
    drawBase();
  }
  const zoom = (factor, around) =>
    show(around - (around - view.from) * factor, around + (view.to - around) * factor);
  // Move the view no further than it takes to have `step` in it.
  function reveal(step) {
    const wide = view.to - view.from;
    if (step < view.from) show(step - wide * 0.1, step + wide * 0.9);
    else if (step + 1 > view.to) show(step + 1 - wide * 0.9, step + 1 + wide * 0.1);
  }
  return { fit, show, zoom, reveal, stepAt, x, drawOver, view, inner };
}
