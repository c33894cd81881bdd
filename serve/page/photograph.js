// A photograph of one's own to search with: picked, pasted or dropped.
import { byId, complain, make } from "./dom.js";
import { go } from "./state.js";

async function take(file) {
  if (!file?.type.startsWith("image/")) {
    complain("That is no photograph.");
    return;
  }
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) {
    complain("That photograph cannot be read.");
    return;
  }
  const scale = Math.min(1, 640 / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  const paper = canvas.getContext("2d");
  paper.fillStyle = "#fff";
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  go({ photograph: canvas.toDataURL("image/jpeg", 0.9) });
}

byId("pick").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) take(file);
});
// Words that are dragged are for the box they are dropped on.
const hasFile = (event) => event.dataTransfer.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!hasFile(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!hasFile(event)) return;
  event.preventDefault();
  take(event.dataTransfer.files[0]);
});
