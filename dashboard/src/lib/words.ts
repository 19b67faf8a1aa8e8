/** Small texts: sentences, counts, numbers. */

/** A message of the server as a sentence: it begins with a capital and ends with a full stop. */
export function sentence(message: string): string {
  const text = message.trim();
  if (!text) return "";
  // Names such as `site_url` keep their first letter.
  const begins = /^[a-z]+[_.(]/.test(text) ? text : text[0]!.toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(begins) ? begins : `${begins}.`;
}

/** "1 project", "2 projects", "1,000 projects" with thin groups. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${grouped(number)} ${number === 1 ? one : many}`;
}

const groups = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export function grouped(number: number | bigint): string {
  return groups.format(number);
}

/** "a, b and c". */
export function list(items: string[]): string {
  if (items.length < 2) return items.join("");
  return `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
}

/** Up to two letters for an avatar: "Mara Okafor" → "MO", "lumen" → "L". */
export function initials(name: string): string {
  const words = name.split(/[\s@._-]+/u).filter(Boolean);
  const letters = words.slice(0, 2).map((word) => [...word][0] ?? "");
  return letters.join("").toLocaleUpperCase("en") || "?";
}
