"use client";

import { Search } from "lucide-react";
import type { ReactNode } from "react";
import { useOrganization } from "@/api/queries/organizations";
import { useProject } from "@/api/queries/projects";
import { type Place, paths, usePlace } from "@/lib/routes";
import { cx, Icon, Kbd, Link } from "@/ui";
import { useCrumb } from "./crumb";
import { modifier } from "./keys";
import { currentItem } from "./nav";
import { openPalette } from "./palette-state";

/** Where one is, and the search. */
export function TopBar({ menu }: { menu: ReactNode }) {
  return (
    <header className="sticky top-0 z-20 flex h-13 shrink-0 items-center gap-2 border-b border-line bg-surface pr-2 pl-4 text-13 md:rounded-t-3 md:pr-3 md:pl-6">
      {menu}
      <Breadcrumb />
      <button
        type="button"
        onClick={openPalette}
        className="flex size-10 shrink-0 items-center justify-center gap-2 rounded-2 text-ink-2 md:h-8 md:w-58 md:justify-start md:border md:border-line md:bg-sunken md:pr-1.5 md:pl-2.5 md:text-ink-3 md:hover:border-line-strong"
      >
        <Icon of={Search} />
        <span className="flex-1 text-left max-md:sr-only">Search or jump to</span>
        <Kbd>{modifier("K")}</Kbd>
      </button>
    </header>
  );
}

interface Crumb {
  label: string;
  href?: string;
}

function Breadcrumb() {
  const crumbs = useCrumbs(usePlace());
  return (
    <nav aria-label="Breadcrumb" className="min-w-0 flex-1">
      <ol className="flex min-w-0 items-center gap-2 text-ink-3">
        {crumbs.map((crumb, index) => {
          const last = index === crumbs.length - 1;
          return (
            <li
              key={`${crumb.label} ${crumb.href}`}
              // A phone shows the last two.
              className={cx("flex min-w-0 items-center gap-2 whitespace-nowrap", index < crumbs.length - 2 && "max-md:hidden")}
            >
              {index > 0 && (
                <span aria-hidden="true" className={cx("text-line-strong", index === crumbs.length - 2 && "max-md:hidden")}>
                  /
                </span>
              )}
              {crumb.href && !last ? (
                <Link href={crumb.href} className="truncate rounded-1 hover:text-ink">
                  {crumb.label}
                </Link>
              ) : (
                <span aria-current={last ? "page" : undefined} className={cx("truncate", last && "font-medium text-ink")}>
                  {crumb.label}
                </span>
              )}
            </li>
          );
        })}
      </ol>
    </nav>
  );
}

function useCrumbs(place: Place): Crumb[] {
  const project = useProject(place.space === "project" ? place.ref : "").data;
  const slug = place.space === "organization" ? place.slug : (project?.organization ?? "");
  const organization = useOrganization(slug).data;
  const own = useCrumb();
  const item = currentItem(place);
  const crumbs: Crumb[] = [];
  if (place.space === "platform") crumbs.push({ label: "Platform", href: paths.platform() });
  if (slug) crumbs.push({ label: organization?.name ?? slug, href: paths.projects(slug) });
  if (place.space === "project") crumbs.push({ label: project?.name ?? place.ref, href: paths.project(place.ref) });
  if (place.space === "account") crumbs.push({ label: "Account" });
  if (item && "page" in place) {
    const base = place.space === "organization" ? `/o/${slug}` : place.space === "project" ? `/p/${place.ref}` : "/platform";
    crumbs.push({ label: item.label, href: item.page ? `${base}/${item.page}` : base });
  }
  if (own) crumbs.push({ label: own });
  return crumbs;
}
