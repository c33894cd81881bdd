// What the collection can be filtered by, and the chips of all that is asked for.
import { call, picture } from "./api.js";
import { byId, make } from "./dom.js";
import { go, state } from "./state.js";

let shownFacets = null;
let shownOnce = false;
export let fields = {};
export let total = 0;

export async function facets(s) {
  const key = JSON.stringify(s.where);
  if (key === shownFacets) return;
  const p = new URLSearchParams({ limit: "12" });
  for (const clause of s.where) p.append("where", quoted(clause));
  const answer = await call(`/v1/facets?${p}`);
  if (JSON.stringify(state().where) !== key) return;
  shownFacets = key;
  fields = answer.fields;
  total = answer.total;
  const open = new Set([...document.querySelectorAll("#facets details[open]")].map((one) => one.dataset.field));
  const blocks = Object.entries(answer.facets).filter(([, values]) => values.length).map(([field, values], index) => {
    const block = make("details", { open: shownOnce ? open.has(field) : index < 4 });
    block.dataset.field = field;
    block.append(make("summary", {}, field.replaceAll("_", " ")), make("ul", {}, ...values.map(({ value, count }) => {
      const clause = `${field}=${value}`, on = s.where.includes(clause);
      const button = make("button", { type: "button", ariaPressed: String(on) },
        make("span", {}, String(value)), make("span", { className: "count" }, count.toLocaleString()));
      button.addEventListener("click", () => {
        const where = state().where;
        go({ where: where.includes(clause) ? where.filter((one) => one !== clause) : [...where, clause] });
      });
      return make("li", {}, button);
    })));
    return block;
  });
  shownOnce = true;
  byId("facets").replaceChildren(...blocks);
}
function quoted(clause) {
  const at = clause.indexOf("=");
  return `${clause.slice(0, at)}="${clause.slice(at + 1).replace(/["\\]/g, "\\$&")}"`;
}

export function chips(s) {
  const made = [];
  const chip = (label, change, ...parts) => {
    const button = make("button", { type: "button", title: "Take away" }, ...parts, label, make("span", { ariaHidden: "true" }, "×"));
    button.setAttribute("aria-label", `${label}, take away`);
    button.addEventListener("click", () => go(change()));
    made.push(make("li", {}, button));
  };
  const without = (name, value) => () => ({ [name]: state()[name].filter((one) => one !== value) });
  if (s.photograph) chip("your photograph", () => ({ photograph: null }), make("img", { src: s.photograph, alt: "" }));
  for (const id of s.like) chip(`like ${id}`, without("like", id), picture(`/v1/images/${encodeURIComponent(id)}/thumb?w=96`, ""));
  for (const id of s.unlike) chip(`unlike ${id}`, without("unlike", id), picture(`/v1/images/${encodeURIComponent(id)}/thumb?w=96`, ""));
  for (const clause of s.where) chip(clause.replace("=", ": "), without("where", clause));
  byId("chips").replaceChildren(...made);
}
