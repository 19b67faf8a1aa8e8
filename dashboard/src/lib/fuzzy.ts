/** How well a text answers what was typed: letters in order, better together and at the beginning of words. */

/** Higher is better; undefined = no match. */
export function score(typed: string, text: string): number | undefined {
  const needle = typed.trim().toLowerCase();
  if (!needle) return 0;
  const hay = text.toLowerCase();
  const at = hay.indexOf(needle);
  if (at >= 0) return 1000 - at - hay.length / 100 + (at === 0 || !isLetter(hay[at - 1]!) ? 500 : 0);
  let place = -1;
  let total = 0;
  for (const letter of needle) {
    if (letter === " ") continue;
    const next = hay.indexOf(letter, place + 1);
    if (next < 0) return undefined;
    total += next === place + 1 ? 8 : next === 0 || !isLetter(hay[next - 1]!) ? 6 : 1;
    place = next;
  }
  // Letters that are strewn over a long text are no match.
  return total >= needle.length * 3 ? total - hay.length / 100 : undefined;
}

const isLetter = (character: string): boolean => /[\p{L}\p{N}]/u.test(character);

/** The items that match, best first; all in their order if nothing was typed. */
export function best<Item>(typed: string, items: Item[], textOf: (item: Item) => string, most = 50): Item[] {
  if (!typed.trim()) return items.slice(0, most);
  return items
    .map((item) => ({ item, rank: score(typed, textOf(item)) }))
    .filter((found): found is { item: Item; rank: number } => found.rank !== undefined)
    .sort((one, other) => other.rank - one.rank)
    .slice(0, most)
    .map(({ item }) => item);
}
