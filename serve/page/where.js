// The clauses of `where=`. The server reads all of them; the page only those that its facets make: field=value,value.
const CLAUSE = /^\s*([\w.\-[\]]+)\s*==?\s*(.*)$/s;
const VALUE = /\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^,]*?)\s*(?:,|$)/sy;

// The field and the values of a clause; null for one that says something else.
export function read(clause) {
  const [, field, text] = CLAUSE.exec(clause) ?? [];
  const values = [];
  VALUE.lastIndex = 0;
  while (text && VALUE.lastIndex < text.length) {
    const raw = VALUE.exec(text)?.[1];
    if (!raw || /^(["']$|"[^]*[^"]$|'[^]*[^']$)/.test(raw)) return null;
    values.push(/^["']/.test(raw) ? raw.slice(1, -1).replace(/\\(.)/gs, "$1") : raw);
  }
  return values.length ? { field, values } : null;
}

const isOf = (field) => (clause) => read(clause)?.field === field;
const plain = /^[^\s"'=,]([^,]*[^\s,])?$/;
const quoted = (value) => (plain.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`);

export const chosen = (where, field) => where.filter(isOf(field)).flatMap((clause) => read(clause).values);
export const without = (where, field) => where.filter((clause) => !isOf(field)(clause));

// The clauses with one more value of a field, or with one fewer if it was chosen: any of them may hold.
export function toggled(where, field, value) {
  const before = chosen(where, field);
  const values = before.includes(value) ? before.filter((one) => one !== value) : [...before, value];
  const made = values.length ? [`${field}=${values.map(quoted).join(",")}`] : [];
  const kept = where.flatMap((clause) => (isOf(field)(clause) ? made.splice(0) : [clause]));
  return [...kept, ...made];
}
