// One photograph's own page: all that is known of it, and its neighbours.
import { call, picture } from "./api.js";
import { byId, make } from "./dom.js";
import { titleOf } from "./hits.js";
import { go, state } from "./state.js";

export async function showItem(id) {
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
    byId("status").textContent = error.message;
    go({ item: "" }, { replace: true });
  }
}

byId("item").addEventListener("cancel", (event) => { event.preventDefault(); go({ item: "" }); });
