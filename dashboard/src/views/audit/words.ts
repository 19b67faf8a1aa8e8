/** Rows of the log as people read them. */

import { AuditCredential, type AuditEvent } from "@/gen/supalove/v1/audit_pb";
import type { Shown } from "@/lib/states";

/** "/supalove.v1.ProjectService/CreateProject" → "Create project"; the name of a background act stays. */
export function actOf(method: string): string {
  const name = method.slice(method.lastIndexOf("/") + 1);
  if (!/^[A-Z][A-Za-z]+$/.test(name)) return name;
  const words = name.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
  return words[0]!.toUpperCase() + words.slice(1);
}

export function outcomeShown(outcome: string): Shown {
  if (outcome === "OK") return { word: "Done", icon: "check", kind: "ok" };
  if (!/^[A-Za-z]+$/.test(outcome)) return { word: outcome, icon: "minus", kind: "idle" };
  const words = outcome.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
  const word = words[0]!.toUpperCase() + words.slice(1);
  return { word, icon: "fail", kind: REFUSALS.has(outcome) ? "warn" : "idle" };
}
const REFUSALS = new Set(["PermissionDenied", "Unauthenticated", "NotFound", "ResourceExhausted"]);

const CREDENTIALS: Record<AuditCredential, string> = {
  [AuditCredential.UNSPECIFIED]: "Not recorded",
  [AuditCredential.NONE]: "No token",
  [AuditCredential.SESSION]: "Session",
  [AuditCredential.PERSONAL_ACCESS_TOKEN]: "Personal access token",
  [AuditCredential.NODE]: "Node's certificate",
  [AuditCredential.SYSTEM]: "Job of the platform",
};

export const credentialOf = ({ credential }: Pick<AuditEvent, "credential">): string =>
  CREDENTIALS[credential] ?? `Credential ${credential}`;

export const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
