import { OperationKind as Kind } from "@/gen/supalove/v1/operation_pb";

export const messages = {
  title: "Activity",
  what: "Operations with their steps, and what else happened, newest first.",
  failed: "The activity could not be loaded",
  cancel: "Cancel",
  cancelTitle: (what: string, name: string) => `Cancel the ${what.toLowerCase()} of ${name}`,
  cancelCreate: (name: string) => `What exists of ${name} is deleted.`,
  cancelStart: (name: string) => `${name} is stopped again. Its data stays.`,
  cancelled: "The operation is cancelled",
  steps: (number: number) => (number === 1 ? "1 step" : `${number} steps`),
  took: (span: string) => `took ${span}`,
  until: "fails unless it ends",
  details: "What happened",
  lastLines: (service: string) => `Last lines of ${service || "the service"}`,
  older: "Show older",
  empty: "Nothing has happened yet",
};

const KINDS: Record<Kind, string> = {
  [Kind.UNSPECIFIED]: "Operation",
  [Kind.CREATE_PROJECT]: "Creation",
  [Kind.START_PROJECT]: "Start",
  [Kind.STOP_PROJECT]: "Stop",
  [Kind.RESTART_PROJECT]: "Restart",
  [Kind.DELETE_PROJECT]: "Deletion",
  [Kind.UNDELETE_PROJECT]: "Restore",
  [Kind.UPGRADE_PROJECT]: "Upgrade",
  [Kind.UPDATE_SETTINGS]: "Change of settings",
  [Kind.CHANGE_SECRETS]: "Change of secrets and variables",
  [Kind.RESET_DATABASE_PASSWORD]: "New database password",
  [Kind.ROTATE_JWT_SECRET]: "Rotation of the JWT secret",
  [Kind.RESIZE_PROJECT]: "Resize",
};

export const kindName = (kind: Kind): string => KINDS[kind] ?? `Operation ${kind}`;
