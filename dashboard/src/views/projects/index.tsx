"use client";

import { LayoutGrid, List, Plus, Search } from "lucide-react";
import { useDeferredValue, useEffect, useMemo, useState } from "react";
import { explain, isNotFound, told } from "@/api/errors";
import { useWatch } from "@/api/live/use-watch";
import { useStartProject, useStopProject, useUndeleteProject } from "@/api/mutations/projects";
import { useOrganization } from "@/api/queries/organizations";
import { usePlans } from "@/api/queries/plans";
import { useProjects } from "@/api/queries/projects";
import type { Project } from "@/gen/supalove/v1/project_pb";
import { score } from "@/lib/fuzzy";
import { recentProjects } from "@/lib/recent";
import { mayOperate } from "@/lib/roles";
import { paths, useSlug } from "@/lib/routes";
import { type Need, needOf } from "@/lib/states";
import { store, useStored } from "@/lib/stored";
import {
  Button,
  Confirm,
  EmptyState,
  ErrorState,
  Field,
  Input,
  LinkButton,
  Page,
  Refused,
  Segmented,
  Select,
  Skeleton,
  toast,
  toastFailure,
} from "@/ui";
import { messages as say, summary } from "./messages";
import { ProjectGrid } from "./project-grid";
import { ProjectList } from "./project-list";
import type { ProjectActs } from "./types";
import { useExtras } from "./use-extras";

const ORDER: Need[] = ["trouble", "busy", "fine", "stopped", "deleted"];
/** Projects whose services are watched one by one; the others' states come with the organization's stream. */
const WATCHED = 24;

export function ProjectsPage() {
  const slug = useSlug();
  const organization = useOrganization(slug);
  const projects = useProjects(slug);
  const plan = usePlans().data?.find(({ name }) => name === organization.data?.plan);
  const [typed, setTyped] = useState("");
  const [state, setState] = useState<Need | "any">("any");
  const [view, setView] = useStored("projects-view", "grid");
  const wanted = useDeferredValue(typed);
  const extrasOf = useExtras(slug);
  const { acts, dialog } = useActs(mayOperate(organization.data?.role));

  const sorted = useMemo(() => byNeed(projects.data ?? []), [projects.data]);
  const found = useMemo(() => filtered(sorted, wanted, state), [sorted, wanted, state]);
  const unsettled = sorted.filter((project) => ["busy", "trouble"].includes(needOf(project))).slice(0, WATCHED);
  useWatch({ case: "organization", value: slug }, ...unsettled.map(({ ref }) => ({ case: "projectRef" as const, value: ref })));
  useEffect(() => {
    if (organization.data) store("last-organization", organization.data.slug);
  }, [organization.data]);

  if (isNotFound(organization.error) && !organization.data) {
    return (
      <Page title={say.title}>
        <Refused title={say.gone} action={<LinkButton href="/">{say.toYours}</LinkButton>}>
          {""}
        </Refused>
      </Page>
    );
  }
  const { data } = projects;
  const create = acts && (
    <LinkButton look="primary" icon={Plus} href={paths.organization(slug, "new")}>
      {say.create}
    </LinkButton>
  );
  return (
    <Page
      title={say.title}
      tab={organization.data ? `${say.title} · ${organization.data.name}` : say.title}
      actions={create}
      description={
        data && organization.data ? (
          summary(
            data.map(needOf),
            organization.data.projectsUsed,
            organization.data.projectsLimit,
            plan?.displayName ?? organization.data.plan,
          )
        ) : (
          <Skeleton className="h-5 w-72" />
        )
      }
    >
      {projects.error && !data ? (
        <ErrorState title={say.failed} error={projects.error} onRetry={() => void projects.refetch()} />
      ) : data?.length === 0 ? (
        <EmptyState title={say.emptyTitle} action={create} className="min-h-87">
          {acts ? say.empty : say.emptyRefused}
        </EmptyState>
      ) : (
        <>
          <div className="mb-4 flex flex-wrap gap-2">
            <Field label={say.find} hideLabel className="flex-1 md:max-w-70">
              <Input
                icon={Search}
                type="search"
                placeholder={say.find}
                value={typed}
                onChange={(event) => setTyped(event.target.value)}
              />
            </Field>
            <Select
              label="State"
              value={state}
              onChange={setState}
              options={[
                { value: "any", label: say.anyState },
                { value: "trouble", label: "Needs a look" },
                { value: "busy", label: "Under way" },
                { value: "fine", label: "Healthy" },
                { value: "stopped", label: "Stopped" },
                { value: "deleted", label: "Deleted" },
              ]}
            />
            <Segmented
              label={say.view}
              value={view === "list" ? "list" : "grid"}
              onChange={setView}
              className="ml-auto max-md:hidden"
              segments={[
                { value: "grid", label: say.grid, icon: LayoutGrid },
                { value: "list", label: say.list, icon: List },
              ]}
            />
          </div>
          {data === undefined ? (
            <Boxes />
          ) : found.length === 0 ? (
            <EmptyState
              title={say.noMatch(typed.trim())}
              icon={Search}
              action={
                <Button
                  onClick={() => {
                    setTyped("");
                    setState("any");
                  }}
                >
                  {say.clear}
                </Button>
              }
            />
          ) : view === "list" ? (
            <ProjectList projects={found} extrasOf={extrasOf} acts={acts} />
          ) : (
            <ProjectGrid projects={found} extrasOf={extrasOf} acts={acts} />
          )}
        </>
      )}
      {dialog}
    </Page>
  );
}

function Boxes() {
  return (
    <div aria-busy="true" className="grid grid-cols-[repeat(auto-fill,minmax(min(21rem,100%),1fr))] gap-3 md:gap-4">
      {["a", "b", "c", "d", "e", "f"].map((key) => (
        <div key={key} className="flex h-41 gap-3 rounded-3 border border-line p-4">
          <Skeleton className="size-7" />
          <div className="flex flex-col gap-2">
            <Skeleton className="h-4 w-32" />
            <Skeleton className="h-3 w-40" />
          </div>
        </div>
      ))}
    </div>
  );
}

/** Trouble first; healthy ones by the last visit. */
function byNeed(projects: Project[]): Project[] {
  const recent = new Map(recentProjects().map((ref, index) => [ref, index]));
  const visit = (project: Project) => recent.get(project.ref) ?? recent.size;
  return [...projects].sort(
    (one, other) =>
      ORDER.indexOf(needOf(one)) - ORDER.indexOf(needOf(other)) ||
      visit(one) - visit(other) ||
      one.name.localeCompare(other.name),
  );
}

function filtered(projects: Project[], typed: string, state: Need | "any"): Project[] {
  return projects.filter(
    (project) =>
      (state === "any" || needOf(project) === state) &&
      (!typed.trim() || score(typed, `${project.name} ${project.ref}`) !== undefined),
  );
}

function useActs(may: boolean) {
  const start = useStartProject();
  const stop = useStopProject();
  const restore = useUndeleteProject();
  const [stops, setStops] = useState<Project>();
  const said = (text: string) => ({
    onSuccess: () => toast(text),
    onError: (error: unknown) => toastFailure(told(explain(error))),
  });
  const acts: ProjectActs | undefined = may
    ? {
        start: (project) => start.mutate(project, said(say.starting(project.name))),
        restore: (project) => restore.mutate(project, said(say.restoring(project.name))),
        stop: setStops,
      }
    : undefined;
  const dialog = (
    <Confirm
      open={stops !== undefined}
      onClose={() => {
        setStops(undefined);
        stop.reset();
      }}
      title={say.stopTitle(stops?.name ?? "")}
      description={say.stopWhat(stops?.name ?? "")}
      action={say.stopTitle(stops?.name ?? "")}
      busy={stop.isPending}
      problem={stop.error ? told(explain(stop.error)) : ""}
      onConfirm={() => {
        if (!stops) return;
        const onSuccess = () => {
          toast(say.stopping(stops.name));
          setStops(undefined);
        };
        stop.mutate(stops, { onSuccess });
      }}
    />
  );
  return { acts, dialog };
}
