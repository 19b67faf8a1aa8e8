/** Addresses of pages, and what they say. Ids are read from the path: the export knows them as `_`. */

"use client";

import { usePathname } from "next/navigation";

export const paths = {
  home: "/",
  signIn: (next?: string) => (next && next !== "/" ? `/sign-in?next=${encodeURIComponent(next)}` : "/sign-in"),
  projects: (slug: string) => `/o/${slug}`,
  organization: (slug: string, page: string) => `/o/${slug}/${page}`,
  project: (ref: string, page = "") => (page ? `/p/${ref}/${page}` : `/p/${ref}`),
  platform: (page = "") => (page ? `/platform/${page}` : "/platform"),
  cluster: (name: string) => `/platform/clusters/${encodeURIComponent(name)}`,
  account: (section?: string) => (section ? `/account?s=${section}` : "/account"),
};

/** Which of the three spaces a path is in, its object, and the page of it. */
export type Place =
  | { space: "organization"; slug: string; page: string }
  | { space: "project"; ref: string; page: string }
  | { space: "platform"; page: string }
  | { space: "account" }
  | { space: "none" };

export function placeOf(pathname: string): Place {
  const [space, id, ...rest] = pathname.split("/").filter(Boolean).map(decoded);
  const page = rest.join("/");
  if (space === "o" && id) return { space: "organization", slug: id, page };
  if (space === "p" && id) return { space: "project", ref: id, page };
  if (space === "platform") return { space: "platform", page: [id, ...rest].filter(Boolean).join("/") };
  if (space === "account") return { space: "account" };
  return { space: "none" };
}

export function usePlace(): Place {
  return placeOf(usePathname());
}

/** The organization of an `/o/…` path. */
export function useSlug(): string {
  const place = usePlace();
  return place.space === "organization" ? place.slug : "";
}

/** The project of a `/p/…` path. */
export function useRef(): string {
  const place = usePlace();
  return place.space === "project" ? place.ref : "";
}

/** The cluster of a `/platform/clusters/…` path: the name of a shared one, the id of a private one. */
export function useClusterName(): string {
  const place = usePlace();
  return place.space === "platform" && place.page.startsWith("clusters/") ? place.page.slice("clusters/".length) : "";
}

/** A path of this site from an untrusted text (`?next=`); else "/". */
export function safeNext(next: string | null): string {
  return next && /^\/(?![/\\])/.test(next) ? next : "/";
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
