// The search page. The address is the state: every change writes it, and everything shown follows from it.
import { call } from "./api.js";
import { byId, complain, redraw } from "./dom.js";
import { chips, facets, total } from "./facets.js";
import { card } from "./hits.js";
import { showItem } from "./item.js";
import { exportJudgements, judgements } from "./judgements.js";
import "./photograph.js";
import { go, say, search, state, watch } from "./state.js";

const PAGE = 24, MOST = 1000;
const TYPING_MS = 60;
const words = byId("words"), hits = byId("hits"), others = byId("others"), status = byId("status"), end = byId("more");
let asked = 0;      // the number of the newest search: answers to older ones are dropped
let sides = [];     // the lists of hits on show, what each asks for, and the cursor of its next page; none while they change
let loading = false;
let failing = false; // whether the last page that was asked for did not come
let shownSearch = null;

// --- asking

function body(s) {
  const asks = { text: s.q, like: s.like, unlike: s.unlike, where: s.where, limit: PAGE };
  if (s.photograph) asks.images = [s.photograph];
  const looking = s.q.trim() || s.photograph || s.like.length || s.unlike.length;   // there are no groups to browse
  if (s.group && looking) asks.group_by = "product_id";
  return asks;
}

// What is compared with the search: how its list is headed, how the other one, and what that asks for.
function comparison(s) {
  if (s.other === "exact") return { one: "The usual search", two: "Exact search", asks: { ...body(s), exact: true } };
  if (s.other === "rerank") return { one: "The usual search", two: "No re-ranking", asks: { ...body(s), rerank: "none" } };
  if (s.other !== "words" || !s.otherWords) return null;
  return { one: s.q ? `“${s.q}”` : "No words", two: `“${s.otherWords}”`, asks: body({ ...s, q: s.otherWords }) };
}

const find = (asks) => call("/v1/search", asks);

function load(on) {
  loading = on;
  document.querySelector("main").ariaBusy = String(on);
}

// --- showing

async function show() {
  const s = state();
  complain("");
  controls(s);
  chips(s);
  showItem(s);
  const wanted = search(s);
  if (wanted === shownSearch) return;
  shownSearch = wanted;
  const number = ++asked;
  sides = [];
  load(true);
  try {
    await facets(s);
    const started = performance.now(), compared = comparison(s);
    const asks = [body(s), ...(compared ? [compared.asks] : [])];
    const limit = Math.min(MOST, Math.max(PAGE, s.place?.shown ?? 0));
    const answers = await Promise.all(asks.map((one) => find({ ...one, limit })));
    if (number !== asked) return;
    const took = Math.round(performance.now() - started);
    failing = false;
    sides = answers.map((answer, at) => ({ list: [hits, others][at], asks: asks[at], next: answer.next }));
    draw(answers.map((answer) => answer.hits), compared, s.place?.held);
    scrollTo(0, s.place?.top ?? 0);
    status.textContent = answers[0].hits.length ? `${photographs(total)} searched in ${took} ms`
      : "Nothing found: take a filter away, or say it in other words.";
    load(false);
    offerMore();
  } catch (error) {
    if (number !== asked) return;
    shownSearch = null;
    load(false);
    draw([[]], null);
    end.hidden = true;
    status.textContent = "";
    complain(error.message);
  }
}

function controls(s) {
  if (words.value.trim() !== s.q) words.value = s.q;
  byId("group").checked = s.group;
  byId("other").value = s.other;
  byId("other-words").hidden = s.other !== "words";
  if (document.activeElement !== byId("other-words")) byId("other-words").value = s.otherWords;
}

function draw([one, two], compared, held) {
  byId("hits-heading").hidden = byId("other-side").hidden = !compared;
  byId("hits-heading").textContent = compared?.one ?? "";
  byId("others-heading").textContent = compared?.two ?? "";
  redraw(hits, one.map(card), 0, held);
  redraw(others, (two ?? []).map(card), 0, held);
}

// Where somebody is among the hits; while these change, where the address says.
function place() {
  if (!sides.length) return state().place;
  const shown = Math.max(...sides.map((side) => side.list.children.length));
  return { shown, top: scrollY, held: document.activeElement.dataset.key };
}

const photographs = (count) => `${count.toLocaleString()} ${count === 1 ? "photograph" : "photographs"}`;

// --- paging

async function more() {
  const open = sides.filter((side) => side.next);
  if (loading || !open.length) return;
  const number = asked, seen = hits.children.length, held = document.activeElement === end;
  load(true);
  const pages = await Promise.allSettled(open.map((side) => find({ ...side.asks, cursor: side.next })));
  if (number !== asked) return;
  load(false);
  pages.forEach(({ value: answer }, at) => {
    if (!answer) return;   // its cursor stays: the same page is asked for again
    open[at].next = answer.next;
    open[at].list.append(...answer.hits.map(card));
  });
  const failed = pages.find((page) => page.reason);
  if (failed) complain(failed.reason.message);
  else if (failing) complain("");
  failing = Boolean(failed);
  if (!failed) offerMore();
  if (held && end.hidden) (hits.children[seen] ?? hits.lastElementChild).querySelector(".open").focus();
}

const sight = new IntersectionObserver((entries) => { if (entries.at(-1).isIntersecting) more(); }, { rootMargin: "600px" });

// Offer the next page, if there is one, and look anew whether its place is in sight: on a tall screen it still may be.
function offerMore() {
  end.hidden = !sides.some((side) => side.next);
  sight.unobserve(end);
  sight.observe(end);
}

// --- what the user does

let typing = 0;
words.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => say(words.value.trim(), { draft: true }), TYPING_MS);
});
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  say(words.value.trim(), { draft: false });
});
byId("group").addEventListener("change", (event) => go({ group: event.target.checked }));
byId("other").addEventListener("change", (event) => go({ other: event.target.value }));
byId("other-words").addEventListener("change", (event) => go({ otherWords: event.target.value.trim() }));
byId("export").addEventListener("click", exportJudgements);
byId("filters").addEventListener("click", (event) => {
  event.target.ariaExpanded = String(byId("facets").classList.toggle("shown"));
});
end.addEventListener("click", more);
byId("skip").addEventListener("click", () => (hits.querySelector(".open") ?? hits).focus());
addEventListener("key", () => chips(state()));   // their pictures were asked for before the key was known
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
// What sticks below the header, or is scrolled to, has to know how tall it is.
new ResizeObserver(([{ target }]) => document.documentElement.style.setProperty("--head", `${target.offsetHeight}px`))
  .observe(document.querySelector("header"));

byId("export").hidden = !judgements().length;
watch(show, place);
show();
