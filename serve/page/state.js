// The state of the page, which is its address. An entry of the history keeps what no address can: the photograph;
// whether it is a draft, made while somebody types; and how many items have been opened on top of the search.
let show = () => {};

// Let `run` show every new state.
export function watch(run) {
  show = run;
  addEventListener("popstate", () => show({ back: true }));
}

export function state() {
  const p = new URLSearchParams(location.search);
  return { q: p.get("q") ?? "", where: p.getAll("where"), like: p.getAll("like"), unlike: p.getAll("unlike"),
    group: p.get("group") === "1", other: p.get("other") ?? "", otherWords: p.get("with") ?? "",
    item: p.get("item") ?? "", photograph: history.state?.photograph ?? null };
}

export function go(change, { replace = false, draft = false } = {}) {
  const before = state(), s = { ...before, ...change };
  const same = address(s) === address(before) && s.photograph === before.photograph;
  const entry = { photograph: s.photograph, draft, opened: opened(before.item, s.item) };
  history[replace || same ? "replaceState" : "pushState"](entry, "", address(s));
  show();
}

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
