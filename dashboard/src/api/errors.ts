/** What a call failed with, as one sentence, the next step, and the fields that are wrong. */

import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "@/gen/google/rpc/error_details_pb";
import { sentence } from "@/lib/words";
import { remedyOf } from "./remedies";

/** A failed call. */
export interface Problem {
  code: Code;
  /** The code's name as gRPC writes it, e.g. "NOT_FOUND". */
  codeName: string;
  /** Name of an ErrorReason without its prefix; empty if the server did not get to answer. */
  reason: string;
  /** What went wrong, a sentence. */
  message: string;
  /** What helps; empty if nothing is known. */
  remedy: string;
  /** Of an INVALID_ARGUMENT: the fields, as the page's forms name them (`displayName`), with a sentence each. */
  fields: { field: string; message: string }[];
  /** Milliseconds after which the same call may succeed. */
  retryAfterMs: number | undefined;
  /** Finds the call in the controller's log; empty if the server did not get to answer. */
  traceId: string;
}

export function explain(error: unknown): Problem {
  const failure = ConnectError.from(error);
  const [info] = failure.findDetails(ErrorInfoSchema);
  const [retry] = failure.findDetails(RetryInfoSchema);
  const violations = failure.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  const reason = info?.reason ?? "";
  const offline = reason === "" && isOffline(failure);
  const retryAfterMs = retry?.retryDelay && Number(retry.retryDelay.seconds) * 1000 + retry.retryDelay.nanos / 1e6;
  return {
    code: failure.code,
    codeName: codeName(failure.code),
    reason,
    message: offline ? "The platform does not answer." : sentence(failure.rawMessage),
    remedy: offline ? "Check your connection, then try again." : remedyOf(reason, retryAfterMs),
    fields: violations.map(({ field, description }) => ({ field: fieldName(field), message: sentence(description) })),
    retryAfterMs,
    traceId: failure.metadata.get("x-trace-id") ?? "",
  };
}

/** The problem as one text, for a toast or a form's foot. */
export function told(problem: Problem): string {
  return problem.remedy && problem.fields.length === 0 ? `${problem.message} ${problem.remedy}` : problem.message;
}

export const isNotFound = (error: unknown): boolean => ConnectError.from(error).code === Code.NotFound;
export const isRefused = (error: unknown): boolean => ConnectError.from(error).code === Code.PermissionDenied;

/** No answer of the server at all: fetch does not say why. */
export function isOffline(error: unknown): boolean {
  const failure = ConnectError.from(error);
  return failure.findDetails(ErrorInfoSchema).length === 0 && OFFLINE.includes(failure.code);
}
const OFFLINE = [Code.Unknown, Code.Unavailable, Code.DeadlineExceeded];

/** Repeating the call cannot help before something else has changed. */
export function isFinal(error: unknown): boolean {
  const { code } = ConnectError.from(error);
  return ![Code.Unavailable, Code.Unknown, Code.DeadlineExceeded, Code.Aborted].includes(code);
}

function codeName(code: Code): string {
  return (Code[code] ?? "Unknown").replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
}

/** `update_mask.display_name` → `updateMask.displayName`. */
function fieldName(field: string): string {
  return field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
