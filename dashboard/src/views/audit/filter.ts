/** The filter of the log, as it stands in the address. */

import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { Filter } from "@/api/queries/audit";

export interface Shape {
  actor: string;
  method: string;
  target: string;
  outcome: string;
  /** Days back; "" = all. */
  range: string;
}

export const NO_FILTER: Shape = { actor: "", method: "", target: "", outcome: "", range: "" };
const NAMES = Object.keys(NO_FILTER) as (keyof Shape)[];
const DAY = 86_400_000;

export function shapeOf(search: string): Shape {
  const query = new URLSearchParams(search);
  return Object.fromEntries(NAMES.map((name) => [name, query.get(name)?.trim() ?? ""])) as unknown as Shape;
}

/** "?actor=usr_…&range=7", or "" without a filter. */
export function searchOf(shape: Shape): string {
  const query = new URLSearchParams(NAMES.filter((name) => shape[name]).map((name) => [name, shape[name]]));
  return query.size > 0 ? `?${query}` : "";
}

export const isFiltered = (shape: Shape): boolean => NAMES.some((name) => shape[name] !== "");

export function filterOf(shape: Shape, now: number): Filter {
  const { range, ...exact } = shape;
  const days = Number(range);
  return { ...exact, startTime: days > 0 ? timestampFromMs(now - days * DAY) : undefined };
}
