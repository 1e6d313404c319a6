// Creates elements and formats figures. Text is always added as text, as file names may contain markup.
const data = JSON.parse(document.getElementById("data").textContent);
const measures = new Map(data.measures.map((measure) => [measure.name, measure]));
const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "style") for (const [name, rule] of Object.entries(value)) node.style.setProperty(name, rule);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

// a small figure gets the digits it needs, as 0.000 would read as zero
function figure(value, digits) {
  if (value === null || value === undefined) return "not measured";
  let text = value.toFixed(digits);
  if (value !== 0 && Number(text) === 0) text = Number(value.toPrecision(2)).toString();
  return text.replace("-", "−");
}

const withUnit = (text, unit) =>
  unit ? [text, h("span", { class: "unit" }, unit === "%" ? "\u202f%" : `\u202f${unit}`)] : [text];
// messages put names between backticks
const marked = (text) =>
  String(text)
    .split("`")
    .map((part, index) => (index % 2 ? h("code", {}, part) : part));

const plural = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : (many ?? one + "s")}`;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function seconds(value) {
  if (value === null || value === undefined) return null;
  if (value < 60) return `${value.toFixed(1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}
