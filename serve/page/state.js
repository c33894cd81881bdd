// The state of the page, which is its address. An entry of the history keeps what no address can: the photograph;
// whether it is a draft, made while somebody types; how many items have been opened on top of the search; and the place
// in the list of hits, to which Back, Forward and loading the page again lead.
let show, place;

// Let `run` show every new state, and `here` say at which place of the list somebody is.
export function watch(run, here) {
  [show, place] = [run, here];
  history.scrollRestoration = "manual";   // the browser would scroll before the hits are there again
  addEventListener("popstate", show);
  addEventListener("scrollend", keep);
}

function keep() {
  history.replaceState({ ...history.state, place: place() }, "");
}

export function state() {
  const p = new URLSearchParams(location.search);
  return { q: p.get("q") ?? "", where: p.getAll("where"), like: p.getAll("like"), unlike: p.getAll("unlike"),
    group: p.get("group") === "1", other: p.get("other") ?? "", otherWords: p.get("with") ?? "",
    item: p.get("item") ?? "", photograph: history.state?.photograph ?? null, place: history.state?.place ?? null };
}

export function go(change, { replace = false, draft = false } = {}) {
  const before = state(), s = { ...before, ...change };
  const same = search(s) === search(before), instead = replace || (same && s.item === before.item);
  if (!instead) keep();
  const entry = { photograph: s.photograph, draft, opened: opened(before.item, s.item), place: same ? place() : null };
  history[instead ? "replaceState" : "pushState"](entry, "", address(s));
  show();
}

// What is searched for: the hits are the same for all states in which it is.
export const search = (s) => JSON.stringify({ ...s, item: "", place: null });

function opened(before, item) {
  const count = history.state?.opened ?? 0;
  if (!item || item === before) return item ? count : 0;
  return before && !count ? 0 : count + 1;   // 0: the address itself named the item, there is no search to go back to
}

// The words in the box: what is typed in one go is one entry of the history.
export function say(q, { draft }) {
  go({ q }, { replace: Boolean(history.state?.draft), draft });
}

export function closeItem() {
  const count = history.state?.opened;
  if (count) history.go(-count);
  else go({ item: "" });
}

function address(s) {
  const p = new URLSearchParams();
  if (s.q) p.set("q", s.q);
  for (const name of ["where", "like", "unlike"]) for (const value of s[name]) p.append(name, value);
  if (s.group) p.set("group", "1");
  if (s.other) p.set("other", s.other);
  if (s.other === "words" && s.otherWords) p.set("with", s.otherWords);
  if (s.item) p.set("item", s.item);
  return p.size ? `?${p}` : location.pathname;
}
