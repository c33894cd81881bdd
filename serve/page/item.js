// One photograph's own page: all that is known of it, and its neighbours.
import { call, picture } from "./api.js";
import { byId, complain, entitle, make, named } from "./dom.js";
import { titleOf } from "./hits.js";
import { closeItem, go, state } from "./state.js";

const dialog = byId("item");

export async function showItem({ item: id, q }) {
  if (!id) {
    dialog.close();
    entitle(q);
    return;
  }
  if (dialog.dataset.id === id && dialog.open) return;
  dialog.dataset.id = id;
  try {
    const address = `/v1/items/${encodeURIComponent(id)}`;
    const [item, near] = await Promise.all([call(address), call(`${address}/similar?limit=12`)]);
    if (state().item !== id) return;
    const title = titleOf(item.payload, id);
    dialog.replaceChildren(head(title),
      make("div", { className: "inside" }, make("div", { className: "page" }, picture(item.image, title), facts(item.payload)),
        make("h3", {}, "Its neighbours"), make("div", { className: "near" }, ...near.hits.map(neighbour))));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    byId("item-title").focus({ preventScroll: true });   // or it is on the neighbour that was followed, which has gone
    entitle(title, q);
  } catch (error) {
    if (state().item !== id) return;
    go({ item: "" }, { replace: true });
    complain(error.message);
  }
}

function head(title) {
  const close = make("button", { type: "button" }, "Close");
  close.addEventListener("click", () => dialog.close());
  return make("div", { className: "head" }, make("h2", { id: "item-title", tabIndex: -1 }, title), close);
}

function facts(payload) {
  return make("dl", {}, ...Object.entries(payload).flatMap(([key, value]) => [make("dt", {}, named(key)),
    make("dd", {}, Array.isArray(value) ? value.join(" | ") : String(value))]));
}

function neighbour(hit) {
  const button = make("button", { type: "button" }, picture(`${hit.thumb}?w=160`, titleOf(hit.payload, hit.id)));
  button.addEventListener("click", () => go({ item: hit.id }));
  return button;
}

// However it was closed, the address follows; where that came first, as on Back, there is nothing left to do.
dialog.addEventListener("close", () => { if (state().item) closeItem(); });

// A press on the backdrop is one on the dialog itself: all within it is covered by what it holds.
let pressed = null;
dialog.addEventListener("pointerdown", (event) => { pressed = event.target; });
dialog.addEventListener("click", (event) => { if (event.target === dialog && pressed === dialog) dialog.close(); });
