/** Values of the forms, and what the API has instead of them. */

/** "public, graphql" → ["public", "graphql"]. */
export function commas(text: string): string[] {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter(Boolean);
}

/** One a line. */
export function lines(text: string): string[] {
  return text
    .split("\n")
    .map((item) => item.trim())
    .filter(Boolean);
}

const MEGABYTE = 1024 * 1024;
export const toMegabytes = (bytes: bigint): number => Number(bytes) / MEGABYTE;
export const fromMegabytes = (megabytes: number): bigint => BigInt(Math.round(megabytes * MEGABYTE));

/** "site_url" of `siteUrl`: the mask's spelling of a field. */
export const maskOf = (field: string): string => field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
