"use client";

import { useEffect } from "react";
import { isNotFound } from "@/api/errors";
import { useWatch } from "@/api/live/use-watch";
import { useClusters } from "@/api/queries/clusters";
import { useOrganization } from "@/api/queries/organizations";
import { useConnectionOf, useOperations, useProjectEvents } from "@/api/queries/project";
import { useProject } from "@/api/queries/projects";
import { type Project, ProjectState } from "@/gen/supalove/v1/project_pb";
import { barsOf } from "@/lib/heart-bars";
import { visitProject } from "@/lib/recent";
import { mayOperate } from "@/lib/roles";
import { useRef } from "@/lib/routes";
import { projectShown } from "@/lib/states";
import { Card, CopyButton, ErrorState, Heart, LinkButton, Page, Refused, Skeleton, State } from "@/ui";
import { Addresses, certificateName } from "./addresses";
import { Connect } from "./connect";
import { HeadActions } from "./head-actions";
import { messages as say } from "./messages";
import { Recent } from "./recent";
import { Services } from "./services";
import { SetUp, useSaysUp } from "./set-up";
import { Trouble } from "./trouble";
import { useActs } from "./use-acts";

export function ProjectPage() {
  const ref = useRef();
  const project = useProject(ref);
  const events = useProjectEvents(ref);
  const role = useOrganization(project.data?.organization ?? "").data?.role;
  useWatch({ case: "projectRef", value: ref });
  useEffect(() => {
    if (ref) visitProject(ref);
  }, [ref]);
  const { data } = project;
  // The first generation has never been up.
  const settingUp = data?.state === ProjectState.COMING_UP && data.generation <= 1n;
  useSaysUp(data, settingUp, data?.state === ProjectState.ACTIVE_HEALTHY);

  if (data && settingUp) return <SetUp project={data} events={events.data ?? []} may={mayOperate(role)} />;
  if (data) return <Overview project={data} events={events.data} may={mayOperate(role)} />;
  if (isNotFound(project.error)) {
    return (
      <Page title={say.overview}>
        <Refused title={say.gone} action={<LinkButton href="/">{say.toYours}</LinkButton>}>
          {""}
        </Refused>
      </Page>
    );
  }
  return (
    <Page title={say.overview}>
      {project.error ? (
        <ErrorState title={say.failed} error={project.error} onRetry={() => void project.refetch()} />
      ) : (
        <Boxes />
      )}
    </Page>
  );
}

function Overview({
  project,
  events,
  may,
}: {
  project: Project;
  events: ReturnType<typeof useProjectEvents>["data"];
  may: boolean;
}) {
  const { acts, dialogs } = useActs(project);
  const operations = useOperations(project.ref).data;
  const cluster = useClusters().data?.find(({ id }) => id === project.clusterId)?.name;
  const shown = projectShown(project);
  const removed = project.state === ProjectState.REMOVED;
  const up = project.state === ProjectState.ACTIVE_HEALTHY || project.state === ProjectState.ACTIVE_UNHEALTHY;
  return (
    <Page
      title={project.name}
      tab={shown.kind === "ok" ? project.name : `${shown.word} · ${project.name}`}
      sign={<Heart bars={barsOf(project)} breathes={shown.kind === "ok"} className="mt-1 w-11 max-md:w-9" />}
      beside={<State of={shown} />}
      description={
        <span className="flex flex-wrap items-center gap-x-3 text-13 text-ink-3">
          <span className="inline-flex items-center">
            <span className="code">{project.ref}</span>
            <CopyButton value={project.ref} what="reference" />
          </span>
          <span>{[cluster, project.nodeName].filter(Boolean).join(", ")}</span>
          <span>{project.size}</span>
          <span>{project.release}</span>
        </span>
      }
      actions={<HeadActions project={project} acts={may ? acts : undefined} />}
    >
      <Trouble project={project} operations={operations} />
      {!removed && <ConnectCard project={project} may={may} />}
      <div className="mt-4 grid items-start gap-4 md:mt-6 md:gap-6 lg:grid-cols-[minmax(0,1fr)_25rem]">
        {project.services.length > 0 && <Services project={project} onRestart={may && up ? acts.restart : undefined} />}
        <Recent projectRef={project.ref} events={events} />
      </div>
      {dialogs}
    </Page>
  );
}

function ConnectCard({ project, may }: { project: Project; may: boolean }) {
  const connection = useConnectionOf(project.ref, project.generation, project.nodeId);
  const { data } = connection;
  if (!project.nodeId) return <Card className="p-5 text-13 text-ink-3">{say.noAddress}</Card>;
  if (connection.error && !data) {
    return <ErrorState title={say.connectionFailed} error={connection.error} onRetry={() => void connection.refetch()} />;
  }
  if (!data) {
    return (
      <Card className="h-84 p-5">
        <Skeleton className="h-full" />
      </Card>
    );
  }
  return (
    <Card className="grid lg:grid-cols-2 [&>*+*]:border-line max-lg:[&>*+*]:border-t lg:[&>*+*]:border-l">
      <Addresses projectRef={project.ref} connection={data} secrets={may} />
      <Connect
        values={{
          apiUrl: data.apiUrl,
          anonKey: data.anonKey,
          dbUrl: data.dbUrl,
          tls: data.dbCaCertificate !== "",
          certificate: certificateName(project.ref),
          services: project.services.map(({ name }) => name),
        }}
      />
    </Card>
  );
}

function Boxes() {
  return (
    <div aria-busy="true" className="flex flex-col gap-6">
      <Skeleton className="h-84" />
      <Skeleton className="h-48" />
    </div>
  );
}
