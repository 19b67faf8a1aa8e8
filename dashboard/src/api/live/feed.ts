/** Brings the messages of the live stream into the cache of the queries, one batch per frame. */

import type { QueryClient } from "@tanstack/react-query";
import type { Node } from "@/gen/supalove/v1/cluster_pb";
import { type OrganizationEvent, OrganizationEventType as Type } from "@/gen/supalove/v1/organization_event_pb";
import type { Organization } from "@/gen/supalove/v1/organization_pb";
import { type Project, type ProjectEvent, ProjectEventType } from "@/gen/supalove/v1/project_pb";
import type { WatchResponse } from "@/gen/supalove/v1/watch_pb";
import { keys } from "../keys";
import { onMessage } from "./live";

/** Events of a project that a page keeps. */
const EVENTS = 500;

export function feed(cache: QueryClient): () => void {
  let waiting: [string, WatchResponse["message"]][] = [];
  const flush = () => {
    const batch = waiting;
    waiting = [];
    for (const [key, message] of batch) apply(cache, key, message);
  };
  return onMessage((key, message) => {
    if (waiting.length === 0) soon(flush);
    waiting.push([key, message]);
  });
}

/** A hidden tab has no frames. */
function soon(flush: () => void): void {
  if (document.hidden) setTimeout(flush, 50);
  else requestAnimationFrame(flush);
}

export function apply(cache: QueryClient, key: string, message: WatchResponse["message"]): void {
  if (message.case === "snapshot") {
    const { object } = message.value;
    if (object.case === "project") putProject(cache, object.value);
    if (object.case === "organization") putOrganization(cache, object.value);
    if (object.case === "node") putNode(cache, object.value);
  }
  if (message.case === "event") {
    const { event } = message.value;
    if (event.case === "project") addProjectEvent(cache, key.slice(key.indexOf(":") + 1), event.value);
    if (event.case === "organization") takeOrganizationEvent(cache, key.slice(key.indexOf(":") + 1), event.value);
  }
  // Nobody may read it any more: ask, and the page shows why.
  if (message.case === "end" || message.case === "gap") void cache.invalidateQueries();
}

export function putProject(cache: QueryClient, project: Project): void {
  cache.setQueryData(keys.project(project.ref), project);
  for (const key of [keys.projects(project.organization), keys.allProjects]) {
    cache.setQueryData<Project[]>(key, (list) => list?.map((known) => (known.ref === project.ref ? project : known)));
  }
}

export function putOrganization(cache: QueryClient, organization: Organization): void {
  cache.setQueryData<Organization>(keys.organization(organization.slug), (known) => ({ ...known, ...organization }));
  cache.setQueryData<Organization[]>(keys.organizations, (list) =>
    list?.map((known) => (known.slug === organization.slug ? organization : known)),
  );
}

function putNode(cache: QueryClient, node: Node): void {
  cache.setQueryData(keys.node(node.id), node);
  cache.setQueriesData<Node[]>({ queryKey: ["nodes"] }, (list) => list?.map((known) => (known.id === node.id ? node : known)));
}

function addProjectEvent(cache: QueryClient, ref: string, event: ProjectEvent): void {
  const last = cache.getQueryData<ProjectEvent[]>(keys.projectEvents(ref))?.at(-1)?.seq;
  // What happened between the reading of the list and the beginning of the stream.
  if (last !== undefined && event.seq > last + 1n) void cache.invalidateQueries({ queryKey: keys.projectEvents(ref) });
  cache.setQueryData<ProjectEvent[]>(keys.projectEvents(ref), (list) => {
    if (list?.some(({ seq }) => seq === event.seq)) return list;
    return [...(list ?? []), event].slice(-EVENTS);
  });
  if (isOfOperation(event.type)) void cache.invalidateQueries({ queryKey: keys.operations(ref) });
}

const isOfOperation = (type: ProjectEventType): boolean =>
  type >= ProjectEventType.OPERATION_STARTED && type <= ProjectEventType.OPERATION_CANCELLED;

function takeOrganizationEvent(cache: QueryClient, slug: string, event: OrganizationEvent): void {
  const stale = (queryKey: readonly unknown[]) => void cache.invalidateQueries({ queryKey });
  switch (event.type) {
    case Type.PROJECT_STATE_CHANGED:
    case Type.PROJECT_RENAMED:
      cache.setQueryData<Project[]>(keys.projects(slug), (list) =>
        list?.map((known) =>
          known.ref === event.projectRef ? { ...known, state: event.projectState, name: event.projectName } : known,
        ),
      );
      stale(keys.projects(slug));
      break;
    case Type.PROJECT_CREATED:
    case Type.PROJECT_REMOVED:
    case Type.PROJECT_JOINED:
    case Type.PROJECT_LEFT:
      stale(keys.projects(slug));
      stale(keys.entitlements(slug));
      break;
    case Type.MEMBER_JOINED:
    case Type.MEMBER_LEFT:
    case Type.MEMBER_REMOVED:
    case Type.MEMBER_ROLE_CHANGED:
      stale(keys.members(slug));
      stale(keys.organization(slug));
      stale(keys.entitlements(slug));
      break;
    case Type.INVITATION_ACCEPTED:
    case Type.INVITATION_CREATED:
    case Type.INVITATION_REVOKED:
      stale(keys.invitations(slug));
      break;
    default:
  }
}
