"use client";

import { Popover } from "@base-ui/react/popover";
import { ChevronsUpDown, Plus, ShieldCheck } from "lucide-react";
import dynamic from "next/dynamic";
import { useRouter } from "next/navigation";
import { useState } from "react";
import { useMe, useOrganization, useOrganizations } from "@/api/queries/organizations";
import { usePlans } from "@/api/queries/plans";
import { useProject, useProjects } from "@/api/queries/projects";
import type { Organization } from "@/gen/supalove/v1/organization_pb";
import type { Project } from "@/gen/supalove/v1/project_pb";
import { barsOf } from "@/lib/heart-bars";
import { type Place, paths, usePlace } from "@/lib/routes";
import { projectShown } from "@/lib/states";
import { Avatar, type Command, CommandList, Heart, Icon, State } from "@/ui";
import { PLATFORM } from "./nav";

const NewOrganization = dynamic(() => import("./new-organization").then((module) => module.NewOrganization), { ssr: false });

/** Where one is, and the way to another organization or project. A switch keeps the page: members to members. */
export function Switcher() {
  const [open, setOpen] = useState(false);
  const [creates, setCreates] = useState(false);
  const place = usePlace();
  const head = useHead(place);
  const commands = useCommands(place, open, () => setCreates(true));
  return (
    <>
      <Popover.Root open={open} onOpenChange={setOpen}>
        <Popover.Trigger className="flex h-10 min-w-0 flex-1 items-center gap-2.5 rounded-2 px-2 text-left hover:bg-nav-hover group-data-folded/shell:md:px-0.5">
          <span className="sr-only">Switch organization or project, now </span>
          {head.sign}
          <span className="min-w-0 flex-1 group-data-folded/shell:md:sr-only">
            <span className="block truncate text-14 leading-4.5 font-semibold tracking-name">{head.name}</span>
            {head.sub && <span className="block truncate text-12 text-ink-3">{head.sub}</span>}
          </span>
          <Icon of={ChevronsUpDown} className="text-ink-3 group-data-folded/shell:md:hidden" />
        </Popover.Trigger>
        <Popover.Portal>
          <Popover.Positioner align="start" sideOffset={4} className="z-50">
            <Popover.Popup className="floating flex max-h-[70dvh] w-80 max-w-[calc(100vw-2rem)] flex-col overflow-hidden rounded-3 bg-raised shadow-float outline-none transition-opacity duration-(--mid) data-[ending-style]:opacity-0 data-[starting-style]:opacity-0">
              <CommandList
                label="Organizations and projects"
                placeholder="Find an organization or project"
                commands={commands}
                empty={(typed) => `Nothing is called ${typed}.`}
                onDone={() => setOpen(false)}
              />
            </Popover.Popup>
          </Popover.Positioner>
        </Popover.Portal>
      </Popover.Root>
      {creates && <NewOrganization onClose={() => setCreates(false)} />}
    </>
  );
}

function useHead(place: Place) {
  const project = useProject(place.space === "project" ? place.ref : "").data;
  const slug = place.space === "organization" ? place.slug : (project?.organization ?? "");
  const organization = useOrganization(slug).data;
  const planName = usePlanName(organization);
  if (place.space === "project") {
    return {
      name: project?.name ?? place.ref,
      sub: organization?.name ?? "",
      sign: <Heart bars={project ? barsOf(project) : []} className="w-6.5" />,
    };
  }
  if (place.space === "organization") {
    const name = organization?.name ?? place.slug;
    return { name, sub: planName && `${planName} plan`, sign: <Avatar name={name} square ink /> };
  }
  return { name: place.space === "platform" ? "Platform" : "Supalove", sub: "", sign: <Heart className="w-6.5" /> };
}

function usePlanName(organization: Organization | undefined): string {
  const { data } = usePlans();
  if (!organization) return "";
  return data?.find(({ name }) => name === organization.plan)?.displayName || organization.plan;
}

function useCommands(place: Place, open: boolean, create: () => void): Command[] {
  const router = useRouter();
  const { data: me } = useMe();
  const { data: organizations = [] } = useOrganizations();
  const project = useProject(place.space === "project" ? place.ref : "").data;
  const slug = place.space === "organization" ? place.slug : (project?.organization ?? "");
  const { data: projects = [] } = useProjects(open ? slug : "");
  const page = "page" in place ? place.page.split("/")[0] : "";

  const ofProject = (item: Project): Command => ({
    id: item.ref,
    group: "Projects",
    label: item.name,
    sign: <Heart bars={barsOf(item)} className="w-4.5" />,
    aside: <State of={projectShown(item)} plain />,
    run: () => router.push(paths.project(item.ref, place.space === "project" ? page : "")),
  });
  const ofOrganization = (item: Organization): Command => ({
    id: item.slug,
    group: "Organizations",
    label: item.name,
    hint: item.slug,
    sign: <Avatar name={item.name} square />,
    run: () =>
      router.push(place.space === "organization" && page ? paths.organization(item.slug, page) : paths.projects(item.slug)),
  });
  const more: Command[] = [
    {
      id: "new-organization",
      group: "More",
      label: "New organization",
      sign: <Icon of={Plus} className="text-ink-3" />,
      run: create,
    },
  ];
  if (me?.operator && PLATFORM.length > 0) {
    more.push({
      id: "platform",
      group: "More",
      label: "Platform",
      sign: <Icon of={ShieldCheck} className="text-ink-3" />,
      run: () => router.push(paths.platform()),
    });
  }
  return [...projects.filter(({ purgeTime }) => !purgeTime).map(ofProject), ...organizations.map(ofOrganization), ...more];
}
