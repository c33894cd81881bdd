// Short names for what the other modules do with the document.
export const byId = (id) => document.getElementById(id);
export const named = (field) => field.replaceAll("_", " ");

export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// What went wrong, in words; it stays until the next state is shown.
export function complain(text) {
  byId("problem").textContent = text;
}

export function entitle(...parts) {
  document.title = [...parts, "Fashion search"].filter(Boolean).join(" · ");
}

// Give a list new children. The focus, if it is there, stays on the control of the same key, or goes to that of `held`;
// else to the one that took its place, or to the one at `place`.
export function redraw(list, children, place, held) {
  const controls = () => [...list.querySelectorAll("button, summary")];
  const before = controls().indexOf(document.activeElement), key = held ?? document.activeElement.dataset.key;
  list.replaceChildren(...children);
  if (before < 0) return;
  const now = controls();
  (now.find((one) => one.dataset.key === key) ?? now[Math.min(place ?? before, now.length - 1)] ?? list).focus({ preventScroll: true });
}
