// What a merchandiser judged right or wrong, kept in this browser, exported for `engine eval --ground-truth`.
const NAME = "judgements";
const kept = new Map(JSON.parse(localStorage.getItem(NAME) ?? "[]"));   // [query, item] -> 1 right, 0 wrong
const keyOf = (query, item) => JSON.stringify([query, item]);

export const judged = (query, item) => kept.get(keyOf(query, item));
export const judgements = () => [...kept];

export function judge(query, item, grade) {
  const key = keyOf(query, item);
  if (kept.get(key) === grade) kept.delete(key);
  else kept.set(key, grade);
  localStorage.setItem(NAME, JSON.stringify([...kept]));
}

// TREC's qrels: white space and % inside a name are written as in URLs.
const quoted = (name) => name.replace(/[\s%]/g, encodeURIComponent);

export function exportJudgements() {
  const lines = [...kept].map(([key, grade]) => {
    const [query, item] = JSON.parse(key);
    return `${quoted(query)} 0 ${quoted(item)} ${grade}\n`;
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, { type: "text/plain" }));
  link.download = "judgements.qrels";
  link.click();
  URL.revokeObjectURL(link.href);
}
