import { create } from "@bufbuild/protobuf";
import { QueryClient } from "@tanstack/react-query";
import { describe, expect, it } from "vitest";
import { OrganizationEventSchema, OrganizationEventType } from "@/gen/supalove/v1/organization_event_pb";
import { type Project, ProjectEventSchema, ProjectSchema, ProjectState } from "@/gen/supalove/v1/project_pb";
import { WatchEventSchema, WatchSnapshotSchema } from "@/gen/supalove/v1/watch_pb";
import { keys } from "../keys";
import { apply } from "./feed";

const project = create(ProjectSchema, { ref: "abc", name: "wiki", organization: "lumen", state: ProjectState.COMING_UP });
const cacheWith = (...projects: Project[]) => {
  const cache = new QueryClient();
  cache.setQueryData(keys.projects("lumen"), projects);
  return cache;
};
const event = (value: Parameters<typeof create<typeof ProjectEventSchema>>[1]) => ({
  case: "event" as const,
  value: create(WatchEventSchema, { event: { case: "project", value: create(ProjectEventSchema, value) } }),
});

describe("the live stream", () => {
  it("brings a project to its own query and into the list", () => {
    const cache = cacheWith(project);
    const healthy = create(ProjectSchema, { ...project, state: ProjectState.ACTIVE_HEALTHY });
    const value = create(WatchSnapshotSchema, { object: { case: "project", value: healthy } });
    apply(cache, "projectRef:abc", { case: "snapshot", value });
    expect(cache.getQueryData<Project>(keys.project("abc"))?.state).toBe(ProjectState.ACTIVE_HEALTHY);
    expect(cache.getQueryData<Project[]>(keys.projects("lumen"))?.[0]?.state).toBe(ProjectState.ACTIVE_HEALTHY);
  });

  it("brings each event once", () => {
    const cache = cacheWith();
    apply(cache, "projectRef:abc", event({ seq: 1n }));
    apply(cache, "projectRef:abc", event({ seq: 1n }));
    apply(cache, "projectRef:abc", event({ seq: 2n }));
    expect(cache.getQueryData<{ seq: bigint }[]>(keys.projectEvents("abc"))?.map(({ seq }) => seq)).toEqual([1n, 2n]);
  });

  it("changes states of projects that are not watched one by one, and makes the list be read again", () => {
    const cache = cacheWith(project);
    const changed = create(OrganizationEventSchema, {
      type: OrganizationEventType.PROJECT_STATE_CHANGED,
      projectRef: "abc",
      projectName: "wiki",
      projectState: ProjectState.INACTIVE,
    });
    const value = create(WatchEventSchema, { event: { case: "organization", value: changed } });
    apply(cache, "organization:lumen", { case: "event", value });
    expect(cache.getQueryData<Project[]>(keys.projects("lumen"))?.[0]?.state).toBe(ProjectState.INACTIVE);
    expect(cache.getQueryState(keys.projects("lumen"))?.isInvalidated).toBe(true);
  });
});
