/** How far the set-up of a project is, read from its services and events. */

import {
  type Project,
  type ProjectEvent,
  type ProjectServiceStatus,
  ServiceState,
  ProjectEventType as Type,
} from "@/gen/supalove/v1/project_pb";
import { inOrder } from "@/lib/services";
import { millis } from "@/lib/time";

export interface Step {
  name: string;
  state: ServiceState;
  message: string;
  /** Of the image, 0 to 1; undefined unless it is being pulled. */
  pulled: number | undefined;
  /** How much of its segment is filled, 0 to 1. */
  share: number;
  begunAt: number | undefined;
  readyAt: number | undefined;
}

/** A segment's share where the state gives no percentage: its image is there, its container, its program. */
const SHARES: Partial<Record<ServiceState, number>> = {
  [ServiceState.CREATED]: 0.4,
  [ServiceState.STARTING]: 0.6,
  [ServiceState.UNHEALTHY]: 0.6,
  [ServiceState.HEALTHY]: 1,
};
const BEGINS = [Type.SERVICE_PULLING, Type.SERVICE_CREATED, Type.SERVICE_STARTED];

export function stepsOf(services: ProjectServiceStatus[], events: ProjectEvent[]): Step[] {
  return inOrder(services).map(({ name, state, message }) => {
    const own = events.filter(({ service }) => service === name);
    const pull = own.findLast(({ type }) => type === Type.SERVICE_PULLING);
    const pulled = state === ServiceState.PULLING ? (pull?.percent ?? 0) / 100 : undefined;
    return {
      name,
      state,
      message,
      pulled,
      share: pulled === undefined ? (SHARES[state] ?? 0) : pulled * 0.4,
      begunAt: millis(own.find(({ type }) => BEGINS.includes(type))?.time),
      readyAt:
        state === ServiceState.HEALTHY ? millis(own.findLast(({ type }) => type === Type.SERVICE_READY)?.time) : undefined,
    };
  });
}

/** Since when the set-up runs: its placement, before which it may have waited for room. */
export function beganAt(project: Pick<Project, "createTime">, events: ProjectEvent[]): number | undefined {
  return millis(events.find(({ type }) => type === Type.PROJECT_PLACED)?.time ?? project.createTime);
}

/** "6.1 s", "41 s". */
export function seconds(span: number): string {
  const value = Math.max(0, span) / 1000;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
}

/** "41 s": of what still runs, so that it counts in whole seconds. */
export function wholeSeconds(span: number): string {
  return `${Math.max(0, Math.floor(span / 1000))} s`;
}
