// The search page. The address is the state: every change writes it, and everything shown follows from it.
import { call } from "./api.js";
import { byId } from "./dom.js";
import { chips, facets, fields, total } from "./facets.js";
import { card } from "./hits.js";
import { showItem } from "./item.js";
import { exportJudgements, judgements } from "./judgements.js";
import "./photograph.js";
import { go, state, watch } from "./state.js";

const PAGE = 24;
const TYPING_MS = 60;
const words = byId("words"), hits = byId("hits"), others = byId("others"), status = byId("status");
let asked = 0;      // the number of the newest search: answers to older ones are dropped
let next = null;    // the cursor of the next page
let loading = false;

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

byId("export").hidden = !judgements().length;
watch(show);
show();
