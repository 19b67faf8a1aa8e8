import type { Place } from "@/lib/routes";
import { paths } from "@/lib/routes";
import { ORGANIZATION } from "./organization";
import { PLATFORM } from "./platform";
import { PROJECT } from "./project";
import type { NavGroup, NavItem } from "./types";

export type { NavGroup, NavItem };
export { ORGANIZATION, PLATFORM, PROJECT };

export function groupsOf(place: Place): NavGroup[] {
  if (place.space === "organization") return ORGANIZATION;
  if (place.space === "project") return PROJECT;
  if (place.space === "platform") return PLATFORM;
  return [];
}

export function hrefOf(place: Place, page: string): string {
  if (place.space === "organization") return page ? paths.organization(place.slug, page) : paths.projects(place.slug);
  if (place.space === "project") return paths.project(place.ref, page);
  return paths.platform(page);
}

/** The entry that the place belongs to: of `clusters/eu-fra` that of `clusters`. */
export function currentItem(place: Place): NavItem | undefined {
  if (!("page" in place)) return undefined;
  const items = groupsOf(place).flatMap(({ items }) => items);
  const head = place.page.split("/")[0] ?? "";
  return items.find(({ page }) => page === place.page) ?? items.find(({ page }) => page === head);
}
