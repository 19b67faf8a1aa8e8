/** Reads a list to its end: pages follow each other, since each names the next. */
export async function allPages<Item>(read: (pageToken: string) => Promise<{ items: Item[]; next: string }>): Promise<Item[]> {
  const all: Item[] = [];
  let token = "";
  do {
    const page = await read(token);
    all.push(...page.items);
    token = page.next;
  } while (token);
  return all;
}
