"use client";

import { Keyboard, Moon, Plus, Sun, User } from "lucide-react";
import { useRouter } from "next/navigation";
import { useMe, useOrganizations } from "@/api/queries/organizations";
import { useAllProjects } from "@/api/queries/projects";
import { barsOf } from "@/lib/heart-bars";
import { mayOperate } from "@/lib/roles";
import { paths, usePlace } from "@/lib/routes";
import { projectShown } from "@/lib/states";
import { useTheme } from "@/lib/theme";
import { Avatar, type Command, Heart, Icon, State } from "@/ui";
import { groupsOf, hrefOf, PLATFORM } from "./nav";
import { openShortcuts } from "./shortcuts-state";

/** Everything the search finds: what is cached is there at once. */
export function useSearch(): Command[] {
  const router = useRouter();
  const place = usePlace();
  const [, setTheme] = useTheme();
  const { data: me } = useMe();
  const { data: organizations = [] } = useOrganizations();
  const { data: projects = [] } = useAllProjects();
  const names = new Map(organizations.map(({ slug, name }) => [slug, name]));
  const icon = (of: typeof Plus) => <Icon of={of} className="text-ink-3" />;

  const here: Command[] = groupsOf(place)
    .flatMap(({ items }) => items)
    .map((item) => ({
      id: `page-${item.page}`,
      group: "Pages",
      label: item.label,
      sign: icon(item.icon),
      run: () => router.push(hrefOf(place, item.page)),
    }));
  const ofProjects: Command[] = projects.map((project) => ({
    id: project.ref,
    group: "Projects",
    label: project.name,
    hint: `${names.get(project.organization) ?? project.organization} · ${project.ref}`,
    sign: <Heart bars={barsOf(project)} className="w-4.5" />,
    aside: <State of={projectShown(project)} plain />,
    run: () => router.push(paths.project(project.ref)),
  }));
  const ofOrganizations: Command[] = organizations.map((organization) => ({
    id: `organization-${organization.slug}`,
    group: "Organizations",
    label: organization.name,
    hint: organization.slug,
    sign: <Avatar name={organization.name} square />,
    run: () => router.push(paths.projects(organization.slug)),
  }));
  const ofPlatform: Command[] = (me?.operator ? PLATFORM : [])
    .flatMap(({ items }) => items)
    .map((item) => ({
      id: `platform-${item.page}`,
      group: "Platform",
      label: item.label,
      sign: icon(item.icon),
      hidden: true,
      run: () => router.push(paths.platform(item.page)),
    }));
  const mine = organizations.filter(({ role }) => mayOperate(role)).map(({ slug }) => slug);
  const slug = place.space === "organization" ? mine.find((one) => one === place.slug) : mine[0];
  const acts: Command[] = [
    { id: "account", group: "Actions", label: "Account", sign: icon(User), run: () => router.push(paths.account()) },
    { id: "light", group: "Actions", label: "Light theme", sign: icon(Sun), hidden: true, run: () => setTheme("light") },
    { id: "dark", group: "Actions", label: "Dark theme", sign: icon(Moon), hidden: true, run: () => setTheme("dark") },
    { id: "shortcuts", group: "Actions", label: "Keyboard shortcuts", sign: icon(Keyboard), run: openShortcuts },
  ];
  if (slug) {
    acts.unshift({
      id: "new-project",
      group: "Actions",
      label: "New project",
      sign: icon(Plus),
      run: () => router.push(paths.organization(slug, "new")),
    });
  }
  return [...ofProjects.slice(0, 8), ...hide(ofProjects.slice(8)), ...here, ...acts, ...hide(ofOrganizations), ...ofPlatform];
}

const hide = (commands: Command[]): Command[] => commands.map((command) => ({ ...command, hidden: true }));
