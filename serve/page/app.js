// The search page. The address is the state: every change writes it, and everything shown follows from it.
import { call, picture } from "./api.js";
import { judge, judged, exportJudgements, judgements } from "./judgements.js";

const PLUMBING = new Set(["item_id", "product_id", "variant", "uri", "source", "sha256", "width", "height",
  "perceptual_hash", "duplicate_of", "near_duplicate_of", "captions", "title"]);
const PAGE = 24;
const TYPING_MS = 60;
const byId = (id) => document.getElementById(id);
const words = byId("words"), hits = byId("hits"), others = byId("others"), status = byId("status");
let asked = 0;      // the number of the newest search: answers to older ones are dropped
let next = null;    // the cursor of the next page
let loading = false;

// --- the state, which is the address

function state() {
  const p = new URLSearchParams(location.search);
  return { q: p.get("q") ?? "", where: p.getAll("where"), like: p.getAll("like"), unlike: p.getAll("unlike"),
    group: p.get("group") === "1", other: p.get("other") ?? "", otherWords: p.get("with") ?? "",
    item: p.get("item") ?? "", photograph: history.state?.photograph ?? null };
}

function go(change, { replace = false } = {}) {
  const s = { ...state(), ...change };
  const p = new URLSearchParams();
  if (s.q) p.set("q", s.q);
  for (const name of ["where", "like", "unlike"]) for (const value of s[name]) p.append(name, value);
  if (s.group) p.set("group", "1");
  if (s.other) p.set("other", s.other);
  if (s.other === "words" && s.otherWords) p.set("with", s.otherWords);
  if (s.item) p.set("item", s.item);
  const address = p.size ? `?${p}` : location.pathname;
  history[replace ? "replaceState" : "pushState"]({ photograph: s.photograph }, "", address);
  show();
}

// --- asking

function body(s) {
  const asks = { text: s.q, like: s.like, unlike: s.unlike, limit: PAGE };
  const must = s.where.map(condition);
  if (must.length) asks.filter = { must };
  if (s.photograph) asks.images = [s.photograph];
  if (s.group) asks.group_by = "product_id";
  return asks;
}

function condition(clause) {   // "colour=Navy Blue": what a facet makes
  const at = clause.indexOf("="), value = clause.slice(at + 1);
  const kind = fields[clause.slice(0, at)];
  return { key: clause.slice(0, at), match: { value: kind === "bool" ? value === "true" : value } };
}

function different(s) {
  if (s.other === "exact") return { exact: true };
  if (s.other === "rerank") return { rerank: "none" };
  return { text: s.otherWords };
}

let fields = {};
let shownFacets = null;
let shownSearch = null;

async function show() {
  const s = state();
  if (words.value.trim() !== s.q) words.value = s.q;
  byId("group").checked = s.group;
  byId("other").value = s.other;
  byId("other-words").hidden = s.other !== "words";
  if (document.activeElement !== byId("other-words")) byId("other-words").value = s.otherWords;
  chips(s);
  showItem(s.item);
  const search = JSON.stringify({ ...s, item: "" });
  if (search === shownSearch) return;
  shownSearch = search;
  const number = ++asked;
  loading = true;
  try {
    await facets(s);
    const started = performance.now();
    const [one, two] = await Promise.all([call("/v1/search", body(s)),
      s.other ? call("/v1/search", { ...body(s), ...different(s) }) : null]);
    if (number !== asked) return;
    next = one.next;
    hits.replaceChildren(...one.hits.map(card));
    others.hidden = !two;
    others.replaceChildren(...(two ? two.hits.map(card) : []));
    const took = Math.round(performance.now() - started);
    status.textContent = one.hits.length ? `${total.toLocaleString()} photographs searched in ${took} ms`
      : "Nothing found: take a filter away, or say it in other words.";
    byId("more").hidden = !next;
  } catch (error) {
    if (number !== asked) return;
    shownSearch = null;
    next = null;
    hits.replaceChildren();
    others.replaceChildren();
    byId("more").hidden = true;
    status.textContent = error.message;
  } finally {
    if (number === asked) loading = false;
  }
}

async function more() {
  if (!next || loading) return;
  const number = asked;
  loading = true;
  try {
    const answer = await call("/v1/search", { ...body(state()), cursor: next });
    if (number !== asked) return;
    next = answer.next;
    hits.append(...answer.hits.map(card));
    byId("more").hidden = !next;
  } catch (error) {
    if (number !== asked) return;
    status.textContent = error.message;
    next = null;
  } finally {
    if (number === asked) loading = false;
  }
}

// --- facets and chips

let total = 0;

async function facets(s) {
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
let shownOnce = false;

function quoted(clause) {
  const at = clause.indexOf("=");
  return `${clause.slice(0, at)}="${clause.slice(at + 1).replace(/["\\]/g, "\\$&")}"`;
}

function chips(s) {
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

// --- hits

function titleOf(payload, id) {
  return payload.title || payload.captions?.[0] || id;
}

function factsOf(payload) {
  const facts = Object.entries(payload).filter(([key, value]) => !PLUMBING.has(key) && value !== false)
    .map(([key, value]) => (value === true ? key.replaceAll("_", " ") : String(value)));
  return [...new Set(facts)].join(", ");
}

function card(hit) {
  const title = titleOf(hit.payload, hit.id);
  const li = make("li", { className: "hit" });
  const open = make("button", { type: "button", className: "open" }, picture(`${hit.thumb}?w=320`, title));
  open.addEventListener("click", () => go({ item: hit.id }));
  const score = hit.score === undefined ? "" : hit.score.toFixed(3);
  const act = (label, name, run) => {
    const button = make("button", { type: "button", title: name }, label);
    button.setAttribute("aria-label", `${name}: ${title}`);
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

// --- one photograph's own page

async function showItem(id) {
  const dialog = byId("item");
  if (!id) {
    if (dialog.open) dialog.close();
    return;
  }
  if (dialog.dataset.id === id && dialog.open) return;
  dialog.dataset.id = id;
  try {
    const address = `/v1/items/${encodeURIComponent(id)}`;
    const [item, near] = await Promise.all([call(address), call(`${address}/similar?limit=12`)]);
    if (state().item !== id) return;
    const title = titleOf(item.payload, id);
    const list = make("dl", {});
    for (const [key, value] of Object.entries(item.payload)) {
      list.append(make("dt", {}, key.replaceAll("_", " ")), make("dd", {}, Array.isArray(value) ? value.join(" | ") : String(value)));
    }
    const close = make("button", { type: "button" }, "Close");
    close.addEventListener("click", () => go({ item: "" }));
    const row = make("div", { className: "near" }, ...near.hits.map((hit) => {
      const button = make("button", { type: "button" }, picture(`${hit.thumb}?w=160`, titleOf(hit.payload, hit.id)));
      button.addEventListener("click", () => go({ item: hit.id }));
      return button;
    }));
    dialog.replaceChildren(make("h2", { id: "item-title" }, title),
      make("div", { className: "page" }, picture(item.image, title), list), make("h3", {}, "Its neighbours"), row, close);
    if (!dialog.open) dialog.showModal();
  } catch (error) {
    status.textContent = error.message;
    go({ item: "" }, { replace: true });
  }
}

byId("item").addEventListener("cancel", (event) => { event.preventDefault(); go({ item: "" }); });

// --- a photograph of one's own

async function take(file) {
  if (!file?.type.startsWith("image/")) {
    status.textContent = "That is no photograph.";
    return;
  }
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) {
    status.textContent = "That photograph cannot be read.";
    return;
  }
  const scale = Math.min(1, 640 / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  const paper = canvas.getContext("2d");
  paper.fillStyle = "#fff";
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  go({ photograph: canvas.toDataURL("image/jpeg", 0.9) });
}

byId("pick").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) take(file);
});
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files[0]);
});

// --- what the user does

let typing = 0;
words.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => go({ q: words.value.trim() }, { replace: Boolean(state().q) }), TYPING_MS);
});
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  go({ q: words.value.trim() });
});
byId("group").addEventListener("change", (event) => go({ group: event.target.checked }));
byId("other").addEventListener("change", (event) => go({ other: event.target.value }));
byId("other-words").addEventListener("change", (event) => go({ otherWords: event.target.value.trim() }));
byId("export").addEventListener("click", exportJudgements);
byId("filters").addEventListener("click", (event) => {
  event.target.ariaExpanded = String(byId("facets").classList.toggle("shown"));
});
byId("more").addEventListener("click", more);
new IntersectionObserver((entries) => { if (entries[0].isIntersecting) more(); }, { rootMargin: "600px" }).observe(byId("more"));
addEventListener("popstate", show);
addEventListener("keydown", (event) => {
  const typingNow = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName);
  if (event.key === "/" && !typingNow) {
    event.preventDefault();
    words.select();
    return;
  }
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step || typingNow || byId("item").open) return;
  const buttons = [...document.querySelectorAll(".hit .open")];
  const at = buttons.indexOf(document.activeElement);
  buttons[Math.max(0, Math.min(buttons.length - 1, at + step))]?.focus();
});

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

byId("export").hidden = !judgements().length;
show();
