import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "@/gen/google/rpc/error_details_pb";
import { explain, isFinal, isOffline, told } from "./errors";

/** As a call fails: its details are decoded from the trailers. */
function failure(message: string, code: Code, ...details: ConnectError["details"]): ConnectError {
  const error = new ConnectError(message, code);
  error.details = details;
  return error;
}
const reason = (name: string) => ({
  desc: ErrorInfoSchema,
  value: create(ErrorInfoSchema, { reason: name, domain: "supalove" }),
});

describe("a failed call", () => {
  it("is a sentence and its remedy", () => {
    const problem = explain(failure("the name is taken", Code.AlreadyExists, reason("ALREADY_EXISTS")));
    expect(problem).toMatchObject({ reason: "ALREADY_EXISTS", codeName: "ALREADY_EXISTS", message: "The name is taken." });
    expect(told(problem)).toBe("The name is taken. Choose another name.");
  });

  it("names the fields as the forms do", () => {
    const fieldViolations = [{ field: "display_name", description: "must not be empty" }];
    const details = { desc: BadRequestSchema, value: create(BadRequestSchema, { fieldViolations }) };
    const problem = explain(failure("bad request", Code.InvalidArgument, reason("INVALID_ARGUMENT"), details));
    expect(problem.fields).toEqual([{ field: "displayName", message: "Must not be empty." }]);
  });

  it("says when to try again", () => {
    const retryDelay = { seconds: 90n, nanos: 0 };
    const details = { desc: RetryInfoSchema, value: create(RetryInfoSchema, { retryDelay }) };
    const problem = explain(failure("too many sign-ins", Code.ResourceExhausted, reason("TOO_OFTEN"), details));
    expect(problem.retryAfterMs).toBe(90_000);
    expect(problem.remedy).toBe("Try again in 2 min.");
  });

  it("without an answer is told as such", () => {
    const broken = new ConnectError("Failed to fetch", Code.Unknown);
    expect(isOffline(broken)).toBe(true);
    expect(explain(broken).message).toBe("The platform does not answer.");
    expect(isOffline(failure("the database does not answer", Code.Unavailable, reason("UNAVAILABLE")))).toBe(false);
  });

  it("is repeated only if that can help", () => {
    expect([Code.NotFound, Code.PermissionDenied, Code.InvalidArgument].map((code) => isFinal(failure("", code)))).toEqual([
      true,
      true,
      true,
    ]);
    expect(isFinal(failure("", Code.Unavailable))).toBe(false);
  });
});
