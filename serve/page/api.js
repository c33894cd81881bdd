// Calls to the API, with the key if the server asks for one.
import { make } from "./dom.js";
import { NoKey, askForKey, keyNow } from "./key.js";

async function ask(address, options = {}) {
  const shown = keyNow();
  const headers = { ...options.headers, ...(shown.key ? { "X-API-Key": shown.key } : {}) };
  const answer = await fetch(address, { ...options, headers });
  if (answer.status !== 401) return answer;
  await askForKey(shown);
  return ask(address, options);
}

export async function call(address, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  let answer;
  try {
    answer = await ask(address, options);
  } catch (error) {
    throw error instanceof NoKey ? error : new Error("The server cannot be reached.");
  }
  const document = await answer.json().catch(() => null);
  if (!answer.ok || !document) throw new Error(document?.detail ?? `The server answered ${answer.status}.`);
  return document;
}

// A picture of the collection; through fetch where a key is needed, which an <img> cannot send.
export function picture(address, alt) {
  const image = make("img", { alt, loading: "lazy", decoding: "async" });
  const give = () => image.replaceWith(missing(alt));
  image.addEventListener("error", give);
  if (!keyNow().key) {
    image.src = address;
  } else {
    ask(address).then((answer) => answer.blob()).then((blob) => { image.src = URL.createObjectURL(blob); }).catch(give);
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  }
  return image;
}

function missing(alt) {
  if (!alt) return make("span", { className: "missing", ariaHidden: "true" });
  return make("span", { className: "missing", role: "img", ariaLabel: `${alt} (no photograph)` }, "no photograph");
}
