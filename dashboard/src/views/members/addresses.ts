/** E-mail addresses as people type and paste them. */

const ADDRESS = /^\S+@\S+\.\S+$|^\S+@localhost$/;

/** Splits a typed or pasted text: `Kim <kim@x.example>, del@x.example` are two addresses. */
export function addressesIn(text: string): string[] {
  const named = [...text.matchAll(/<([^<>\s]+@[^<>\s]+)>/g)].map(([, address]) => address!);
  const plain = text
    .replace(/[^,;\n]*<[^<>]*>/g, " ")
    .split(/[\s,;]+/)
    .filter(Boolean);
  return [...new Set([...named, ...plain].map((address) => address.toLowerCase()))];
}

export const isAddress = (text: string): boolean => ADDRESS.test(text);
