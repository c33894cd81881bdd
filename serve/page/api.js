// Calls to the API, with the key if the server asks for one.
let key = sessionStorage.getItem("key");

async function ask(address, options = {}) {
  const headers = { ...options.headers, ...(key ? { "X-API-Key": key } : {}) };
  const answer = await fetch(address, { ...options, headers });
  if (answer.status !== 401) return answer;
  await askForKey();
  return ask(address, options);
}

let asking = null;

function askForKey() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key");
    dialog.addEventListener("close", () => {
      key = document.getElementById("key-value").value;
      sessionStorage.setItem("key", key);
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

export async function call(address, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  let answer;
  try {
    answer = await ask(address, options);
  } catch {
    throw new Error("The server cannot be reached.");
  }
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.detail ?? `The server answered ${answer.status}.`);
  return document;
}

// A picture of the collection; through fetch where a key is needed, which an <img> cannot send.
export function picture(address, alt) {
  const image = document.createElement("img");
  image.alt = alt;
  image.loading = "lazy";
  image.decoding = "async";
  if (!key) {
    image.src = address;
  } else {
    ask(address).then((answer) => answer.blob()).then((blob) => { image.src = URL.createObjectURL(blob); });
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
  }
  return image;
}
