// The state of the page, which is its address.
let show = () => {};

// Let `run` show every new state.
export function watch(run) {
  show = run;
  addEventListener("popstate", show);
}

export function state() {
  const p = new URLSearchParams(location.search);
  return { q: p.get("q") ?? "", where: p.getAll("where"), like: p.getAll("like"), unlike: p.getAll("unlike"),
    group: p.get("group") === "1", other: p.get("other") ?? "", otherWords: p.get("with") ?? "",
    item: p.get("item") ?? "", photograph: history.state?.photograph ?? null };
}

export function go(change, { replace = false } = {}) {
  const s = { ...state(), ...change };
  history[replace ? "replaceState" : "pushState"]({ photograph: s.photograph }, "", address(s));
  show();
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
