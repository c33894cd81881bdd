// The key that a server may ask for: kept until the tab is closed.
import { byId } from "./dom.js";

export class NoKey extends Error {}

const POSSIBLE = /^[\x20-\x7e\xa0-\xff]+$/;   // what a header can carry
const dialog = byId("key"), box = byId("key-value");
let key = sessionStorage.getItem("key") ?? "";
let asking = null;
let refusals = 0;

export const keyNow = () => ({ key, refusals });

// Ask for another key than the one in `shown`, all callers with one dialog. Raises NoKey where none is given.
export function askForKey(shown) {
  if (shown.refusals !== refusals) return Promise.reject(refusal());   // asked and refused while the call was under way
  if (shown.key !== key) return Promise.resolve();
  asking ??= new Promise((resolve, reject) => {
    tell(key ? "The server does not know that key." : "");
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      asking = null;
      if (dialog.returnValue) {
        resolve(keep(box.value.trim()));
      } else {
        refusals += 1;
        reject(refusal());
      }
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

const refusal = () => new NoKey("This server asks for a key: search again to give it.");

function keep(value) {
  key = value;
  sessionStorage.setItem("key", key);
  dispatchEvent(new Event("key"));
}

function tell(problem) {
  byId("key-problem").textContent = problem;
  box.value = "";
}

byId("key-form").addEventListener("submit", (event) => {
  if (POSSIBLE.test(box.value.trim())) return;
  event.preventDefault();
  tell("No key is like that: it has letters, digits and signs of western European languages only.");
});
