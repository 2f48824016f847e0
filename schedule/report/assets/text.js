"use strict";
// Numbers and names as people read them.

const countText = (value) => Number(Number(value).toPrecision(6)).toLocaleString("en");
const percentText = (share, sign = "") => `${share > 0 ? sign : ""}${Number((100 * share).toPrecision(3))} %`;
// An overhead, as `format_share` writes it: two decimals, more where these would be zeros.
const overheadText = (share) => {
  const percent = 100 * share, size = Math.abs(percent);
  const text = size >= 1e-4 && size < 0.005 ? percent.toPrecision(1) : percent.toFixed(2);
  return `${percent < 0 && Number(text) ? "" : "+"}${text.replace("-0.00", "0.00")} %`;
};
const plural = (count, word) => `${countText(count)} ${word}${count === 1 ? "" : "s"}`;

// How sizes are written on a page whose largest is `largest`: below a million they are taken
// as they are, else as bytes, all of them, so that small ones can be told from large ones.
function sizesUpTo(largest) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  if (largest < 1e6) return countText;
  return (amount) => {
    let value = amount, at = 0;
    while (Math.abs(value) >= 1000 && at < units.length - 1) (value /= 1024), at++;
    return `${Number(value.toPrecision(4))} ${units[at]}`;
  };
}

// An element with its content (text, elements, or a list of both) and attributes.
function element(tag, content = [], attributes = {}) {
  const made = document.createElement(tag);
  made.append(...[content].flat(Infinity).filter((part) => part !== null && part !== ""));
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
function drawing(tag, attributes = {}, content = []) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...[content].flat());
  return made;
}
function button(content, act, attributes = { class: "link" }) {
  const made = element("button", content, { type: "button", ...attributes });
  made.addEventListener("click", act);
  return made;
}
// `items` one after another with commas, up to `most`.
function commas(items, most) {
  const shown = items.slice(0, most).flatMap((item, k) => (k ? [", ", item] : [item]));
  return items.length > most ? [...shown, ` and ${items.length - most} more`] : shown;
}
const byId = (id) => document.getElementById(id);
// A round distance between ticks: 1, 2, 5 or 10 times a power of ten, `rough` or more.
function roundStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((x) => x * power >= rough * 0.999999);
}
