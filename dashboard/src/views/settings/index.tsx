"use client";

import { useRouter, useSearchParams } from "next/navigation";
import { Suspense } from "react";
import { useWatch } from "@/api/live/use-watch";
import { useOrganization } from "@/api/queries/organizations";
import { useProject } from "@/api/queries/projects";
import { useProjectSettings } from "@/api/queries/settings";
import type { Project, ProjectSettings } from "@/gen/supalove/v1/project_pb";
import { mayOperate } from "@/lib/roles";
import { paths, useRef } from "@/lib/routes";
import { cx, ErrorState, Link, Loaded, Page, Refused, Select, Skeleton } from "@/ui";
import { ApiSection } from "./api";
import { EmailSection } from "./email";
import { EnvironmentSection } from "./environment";
import { GeneralSection } from "./general";
import { KeysSection } from "./keys-section";
import { messages as say } from "./messages";
import { SignInSection } from "./sign-in";

type Name = keyof typeof say.sections;
const NAMES = Object.keys(say.sections) as Name[];

export function SettingsPage() {
  return (
    <Suspense>
      <Settings />
    </Suspense>
  );
}

function Settings() {
  const ref = useRef();
  useWatch({ case: "projectRef", value: ref });
  const project = useProject(ref);
  const { data } = project;
  const organization = useOrganization(data?.organization ?? "").data;
  const wanted = useSearchParams().get("s") as Name | null;
  const section = wanted && NAMES.includes(wanted) ? wanted : "general";
  const failed = project.error && !data;
  return (
    <Page title={say.title} tab={data ? `${say.title} · ${data.name}` : say.title}>
      {failed ? (
        <ErrorState title={say.failed} error={project.error} onRetry={() => void project.refetch()} />
      ) : !data || !organization ? (
        <Boxes />
      ) : !mayOperate(organization.role) ? (
        <Refused title={say.refused}>{say.refusedWho}</Refused>
      ) : (
        <div className="grid gap-6 lg:grid-cols-[10rem_minmax(0,1fr)] lg:gap-10">
          <Sections projectRef={ref} current={section} />
          <div className="min-w-0">
            <Content section={section} project={data} />
          </div>
        </div>
      )}
    </Page>
  );
}

/** A list at the side; above the content where there is no room. */
function Sections({ projectRef, current }: { projectRef: string; current: Name }) {
  const router = useRouter();
  const href = (name: Name) => `${paths.project(projectRef, "settings")}?s=${name}`;
  return (
    <>
      <div className="lg:hidden">
        <Select
          label={say.section}
          wide
          value={current}
          options={NAMES.map((value) => ({ value, label: say.sections[value] }))}
          onChange={(name) => router.push(href(name))}
        />
      </div>
      <nav aria-label={say.title} className="flex flex-col gap-px text-13 max-lg:hidden">
        {NAMES.map((name) => (
          <Link
            key={name}
            href={href(name)}
            aria-current={name === current ? "page" : undefined}
            className={cx(
              "flex h-8 items-center rounded-2 px-2.5 font-medium",
              name === current ? "bg-selected text-ink" : "text-ink-2 hover:bg-hover hover:text-ink",
            )}
          >
            {say.sections[name]}
          </Link>
        ))}
      </nav>
    </>
  );
}

function Content({ section, project }: { section: Name; project: Project }) {
  const settings = useProjectSettings(project.ref);
  if (section === "general") return <GeneralSection project={project} />;
  if (section === "secrets") return <EnvironmentSection projectRef={project.ref} />;
  if (section === "keys") return <KeysSection project={project} />;
  return (
    <Loaded query={settings} failed={say.failed} skeleton={<Skeleton className="h-64" />}>
      {(read) => <OfSettings section={section} project={project} settings={read} />}
    </Loaded>
  );
}

function OfSettings({ section, project, settings }: { section: Name; project: Project; settings: ProjectSettings }) {
  if (section === "api") return <ApiSection projectRef={project.ref} settings={settings} />;
  if (section === "auth") return <SignInSection projectRef={project.ref} settings={settings} />;
  return <EmailSection projectRef={project.ref} name={project.name} settings={settings} />;
}

function Boxes() {
  return (
    <div aria-busy="true" className="flex flex-col gap-6">
      <Skeleton className="h-32" />
      <Skeleton className="h-64" />
    </div>
  );
}
