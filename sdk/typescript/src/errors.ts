/** What a call can fail with: a ConnectError, and the google.rpc details in it. */

import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** A field of the request that is wrong, and why. */
export interface FieldViolation {
  field: string;
  description: string;
}

/** A failed call, decoded. */
export interface Problem {
  /** What kind of failure. */
  code: Code;
  /** For people. */
  message: string;
  /** Stable reason, for programs; empty if the server did not get to answer. */
  reason: string;
  /** The wrong fields of an InvalidArgument. */
  fieldViolations: FieldViolation[];
  /** Milliseconds after which the same call may succeed. */
  retryAfterMs: number | undefined;
}

/** What a caught error says. Its other details: `ConnectError.from(error).findDetails(…)`. */
export function explain(error: unknown): Problem {
  const failure = ConnectError.from(error);
  const [info] = failure.findDetails(ErrorInfoSchema);
  const [retry] = failure.findDetails(RetryInfoSchema);
  const violations = failure.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  const delay = retry?.retryDelay;
  return {
    code: failure.code,
    message: failure.rawMessage,
    reason: info?.reason ?? "",
    fieldViolations: violations.map(({ field, description }) => ({ field, description })),
    retryAfterMs: delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6,
  };
}
