/** Events of a project as people read them. */

import { type ProjectEvent, ProjectEventType as Type } from "@/gen/supalove/v1/project_pb";
import { projectStateShown, type Shown } from "./states";

const shown = (word: string, icon: Shown["icon"], kind: Shown["kind"]): Shown => ({ word, icon, kind });

/** The event's message with a capital, the icon and the kind that belong to its type. */
export function eventShown(event: ProjectEvent): Shown {
  const word = headline(event.message);
  switch (event.type) {
    case Type.STATE_CHANGED: {
      const state = projectStateShown(event.state);
      // The message of a failure says more than the state; that of a plain change is the state's own name.
      return /^[A-Z_]+$/.test(event.message) ? state : { ...state, word };
    }
    case Type.SERVICE_READY:
    case Type.OPERATION_SUCCEEDED:
      return shown(word, "check", "ok");
    case Type.SERVICE_FAILED:
    case Type.PROJECT_RETURNED:
      return shown(word, "alert", "warn");
    case Type.OPERATION_FAILED:
    case Type.PROJECT_ABANDONED:
      return shown(word, "fail", "bad");
    case Type.OPERATION_CANCELLED:
      return shown(word, "minus", "idle");
    case Type.PROJECT_PENDING:
      return shown(word, "hourglass", "warn");
    case Type.SERVICE_PULLING:
      return shown(event.percent > 0 ? `${word}, ${event.percent} %` : word, "dashed", "idle");
    default:
      return shown(word, "dashed", "idle");
  }
}

/** Steps of single services: many, and only of use while somebody waits for them. */
export function isStep(event: ProjectEvent): boolean {
  return STEPS.includes(event.type);
}
const STEPS = [
  Type.PROJECT_PREPARING,
  Type.SERVICE_PULLING,
  Type.SERVICE_CREATED,
  Type.SERVICE_STARTED,
  Type.SERVICE_READY,
  Type.SERVICE_STOPPING,
  Type.SERVICE_REMOVED,
];

function headline(message: string): string {
  const text = message.trim();
  return text ? text[0]!.toUpperCase() + text.slice(1) : "";
}
