// What the collection can be filtered by, and the chips of all that is asked for.
import { call, picture } from "./api.js";
import { byId, complain, make, named, redraw } from "./dom.js";
import { go, state } from "./state.js";
import { chosen, read, toggled, without } from "./where.js";

const FEW = 12, ALL = 1000;
const OPEN_AT_FIRST = 4;
const whole = new Set();   // the fields of which all values are shown
let shown = null;          // what the facets on show were counted for; null: there are none yet
export let total = 0;

export async function facets({ where }) {
  const key = keyOf(where);
  if (key === shown) return;
  const answer = await count(where, FEW + 1);
  // A field is counted without its own filter: who has chosen blue wants to know how many are black.
  const closer = Object.keys(answer.facets).filter((field) => whole.has(field) || chosen(where, field).length);
  const counted = await Promise.all(closer.map((field) => count(without(where, field), ALL, field)));
  if (key !== keyOf(state().where)) return;
  total = answer.total;
  const all = Object.assign(answer.facets, ...counted.map((one) => one.facets));
  const open = new Set([...document.querySelectorAll("#facets details[open]")].map((one) => one.dataset.field));
  const isOpen = (field, index) => (shown ? open.has(field) : index < OPEN_AT_FIRST);
  const filled = Object.entries(all).filter(([field, values]) => values.length || chosen(where, field).length);
  redraw(byId("facets"), filled.map(([field, values], index) => block(field, values, chosen(where, field), isOpen(field, index))));
  shown = key;
}

const keyOf = (where) => JSON.stringify([where, [...whole]]);

function count(where, limit, field) {
  const p = new URLSearchParams({ limit });
  if (field) p.set("field", field);
  for (const clause of where) p.append("where", clause);
  return call(`/v1/facets?${p}`);
}

function block(field, values, on, open) {
  const names = values.map(({ value }) => String(value));
  const none = on.filter((value) => !names.includes(value)).map((value) => ({ value, count: 0 }));
  const listed = values.filter(({ value }, index) => whole.has(field) || index < FEW || on.includes(String(value)));
  const summary = make("summary", {}, named(field));
  const list = make("ul", {}, ...[...listed, ...none].map((one) => make("li", {}, facet(field, one, on))));
  const details = make("details", { open }, summary, list, ...(values.length > FEW ? [extent(field)] : []));
  details.dataset.field = summary.dataset.key = field;
  return details;
}

function facet(field, { value, count }, on) {
  const name = String(value);
  const button = make("button", { type: "button", ariaPressed: String(on.includes(name)) },
    make("span", {}, name), make("span", { className: "count" }, count.toLocaleString()));
  button.dataset.key = `${field}=${name}`;
  button.addEventListener("click", () => go({ where: toggled(state().where, field, name) }));
  return button;
}

function extent(field) {
  const label = whole.has(field) ? "Show fewer" : "Show all";
  const button = make("button", { type: "button", className: "extent", ariaLabel: `${label}: ${named(field)}` }, label);
  button.dataset.key = `all ${field}`;
  button.addEventListener("click", () => {
    if (!whole.delete(field)) whole.add(field);
    facets(state()).catch((error) => complain(error.message));
  });
  return button;
}

// --- chips

export function chips(s) {
  const dropped = (name, value) => () => ({ [name]: state()[name].filter((one) => one !== value) });
  const thumb = (id) => picture(`/v1/images/${encodeURIComponent(id)}/thumb?w=96`, "");
  const made = [];
  if (s.photograph) made.push(chip("your photograph", () => ({ photograph: null }), make("img", { src: s.photograph, alt: "" })));
  for (const name of ["like", "unlike"]) for (const id of s[name]) made.push(chip(`${name} ${id}`, dropped(name, id), thumb(id)));
  for (const clause of s.where) {
    const facet = read(clause);
    if (!facet) made.push(chip(clause, dropped("where", clause)));
    for (const value of facet?.values ?? []) {
      made.push(chip(`${named(facet.field)}: ${value}`, () => ({ where: toggled(state().where, facet.field, value) })));
    }
  }
  redraw(byId("chips"), made);
}

function chip(label, change, ...parts) {
  const button = make("button", { type: "button", title: "Take away", ariaLabel: `${label}, take away` },
    ...parts, make("span", {}, label), make("span", { ariaHidden: "true" }, "×"));
  button.dataset.key = label;
  button.addEventListener("click", () => go(change()));
  return make("li", {}, button);
}
