// A photograph that was found, and what can be done with it.
import { picture } from "./api.js";
import { byId, make, named } from "./dom.js";
import { judge, judged, judgements } from "./judgements.js";
import { go, state } from "./state.js";

const PLUMBING = new Set(["item_id", "product_id", "variant", "uri", "source", "sha256", "width", "height",
  "perceptual_hash", "duplicate_of", "near_duplicate_of", "captions", "title"]);

export function titleOf(payload, id) {
  return payload.title || payload.captions?.[0] || id;
}

function factsOf(payload) {
  const facts = Object.entries(payload).filter(([key, value]) => !PLUMBING.has(key) && value !== false)
    .map(([key, value]) => (value === true ? named(key) : String(value)));
  return [...new Set(facts)].join(", ");
}

export function card(hit) {
  const title = titleOf(hit.payload, hit.id);
  const li = make("li", { className: "hit" });
  const open = make("button", { type: "button", className: "open" }, picture(`${hit.thumb}?w=320`, title));
  open.dataset.key = `open ${hit.id}`;
  open.addEventListener("click", () => go({ item: hit.id }));
  const score = hit.score === undefined ? "" : hit.score.toFixed(3);
  const act = (label, name, run) => {
    const button = make("button", { type: "button", title: name }, label);
    button.setAttribute("aria-label", `${name}: ${title}`);
    button.dataset.key = `${name} ${hit.id}`;
    button.addEventListener("click", () => run(button));
    return button;
  };
  const acts = make("div", { className: "acts" },
    act("more", "More like this", () => go({ like: add(state().like, hit.id), unlike: state().unlike.filter((one) => one !== hit.id) })),
    act("less", "Less like this", () => go({ unlike: add(state().unlike, hit.id), like: state().like.filter((one) => one !== hit.id) })));
  const query = state().q.trim();
  if (query) {
    const marks = [["✓", "right", 1], ["✗", "wrong", 0]].map(([label, name, grade]) => act(label, `Judge ${name}`, () => {
      judge(query, hit.id, grade);
      mark();
    }));
    const mark = () => {
      const grade = judged(query, hit.id);
      li.classList.toggle("right", grade === 1);
      li.classList.toggle("wrong", grade === 0);
      marks[0].ariaPressed = String(grade === 1);
      marks[1].ariaPressed = String(grade === 0);
      byId("export").hidden = !judgements().length;
    };
    mark();
    acts.append(...marks);
  }
  li.append(open, make("div", { className: "about" }, make("div", { className: "title" }, title),
    make("div", { className: "facts" }, [score, factsOf(hit.payload)].filter(Boolean).join(" · "))), acts);
  return li;
}

const add = (list, value) => (list.includes(value) ? list : [...list, value]);
