"use client";

import { ChevronLeft } from "lucide-react";
import type { ReactNode } from "react";
import { useProject, useProjects } from "@/api/queries/projects";
import { type Place, paths, usePlace } from "@/lib/routes";
import { grouped } from "@/lib/words";
import { cx, Icon, Link } from "@/ui";
import { AccountMenu } from "./account-menu";
import { currentItem, groupsOf, hrefOf, type NavItem } from "./nav";
import { Switcher } from "./switcher";

/** Switcher, the pages of the space, the way back, the account. In the drawer of phones too. */
export function Sidebar() {
  const place = usePlace();
  return (
    <>
      <div className="mb-1 flex h-13 items-center">
        <Switcher />
      </div>
      <Navigation place={place} />
      <div className="mt-auto flex flex-col gap-px pt-4">
        {place.space === "project" && <BackToProjects projectRef={place.ref} />}
        {(place.space === "account" || place.space === "platform") && (
          <SideLink href={paths.home} icon={ChevronLeft} label="Projects" />
        )}
        <AccountMenu />
      </div>
    </>
  );
}

const NAMES: Record<string, string> = { organization: "Organization", project: "Project", platform: "Platform" };

function Navigation({ place }: { place: Place }) {
  const groups = groupsOf(place);
  const current = currentItem(place);
  if (groups.length === 0) return null;
  return (
    <nav aria-label={NAMES[place.space]} className="min-h-0 flex-1 overflow-y-auto">
      {groups.map((group) => (
        <div key={group.label ?? group.items[0]?.label} className="not-first:mt-4">
          {group.label && (
            <div className="px-2 pb-1 text-12 leading-5 font-medium text-ink-3 group-data-folded/shell:md:sr-only">
              {group.label}
            </div>
          )}
          <ul className="flex flex-col gap-px">
            {group.items.map((item) => (
              <li key={item.page}>
                <SideLink
                  href={hrefOf(place, item.page)}
                  icon={item.icon}
                  label={item.label}
                  current={item === current}
                  count={place.space === "organization" && item.page === "" ? <ProjectCount slug={place.slug} /> : undefined}
                />
              </li>
            ))}
          </ul>
        </div>
      ))}
    </nav>
  );
}

function SideLink({
  href,
  icon,
  label,
  current,
  count,
}: Pick<NavItem, "icon" | "label"> & { href: string; current?: boolean; count?: ReactNode }) {
  return (
    <Link
      href={href}
      aria-current={current ? "page" : undefined}
      title={undefined}
      className={cx(
        "group/link flex h-10 items-center gap-2.5 rounded-2 px-2 font-medium md:h-8",
        current ? "bg-nav-current text-ink shadow-nav" : "text-ink-2 hover:bg-nav-hover hover:text-ink",
      )}
    >
      <Icon of={icon} className={current ? "text-brand" : "text-ink-3"} />
      <span className="flex-1 truncate group-data-folded/shell:md:sr-only">{label}</span>
      {count}
    </Link>
  );
}

function ProjectCount({ slug }: { slug: string }) {
  const { data } = useProjects(slug);
  if (!data) return null;
  return <span className="num text-12 text-ink-3 group-data-folded/shell:md:hidden">{grouped(data.length)}</span>;
}

function BackToProjects({ projectRef }: { projectRef: string }) {
  const { data } = useProject(projectRef);
  return <SideLink href={data ? paths.projects(data.organization) : paths.home} icon={ChevronLeft} label="All projects" />;
}
