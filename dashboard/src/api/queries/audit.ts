"use client";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { useInfiniteQuery } from "@tanstack/react-query";
import { AuditExportFormat, type AuditFilterSchema } from "@/gen/supalove/v1/audit_pb";
import { audit } from "../clients";
import { keys } from "../keys";

export type Filter = MessageInitShape<typeof AuditFilterSchema>;

/** Slug of an organization, or "" for the platform's part of the log. */
export type Scope = string;

const PAGE = 100;

/** Rows of the log, newest first, page after page. `key` is the filter as the address has it. */
export function useAuditEvents(scope: Scope, filter: Filter, key: object) {
  return useInfiniteQuery({
    queryKey: keys.audit(scope, key),
    initialPageParam: "",
    queryFn: async ({ pageParam, signal }) => {
      const page = { filter, pageSize: PAGE, pageToken: pageParam };
      const { events, nextPageToken, retention } = scope
        ? await audit.listAuditEvents({ organization: scope, ...page }, { signal })
        : await audit.listPlatformAuditEvents(page, { signal });
      return { events, nextPageToken, retention };
    },
    getNextPageParam: ({ nextPageToken }) => nextPageToken || undefined,
  });
}

/** The rows as one file. An export that does not come to its end is an error. */
export async function exportAuditEvents(scope: Scope, filter: Filter, form: "csv" | "jsonl"): Promise<Blob> {
  const format = form === "csv" ? AuditExportFormat.CSV : AuditExportFormat.JSON_LINES;
  const options = { timeoutMs: 10 * 60_000 };
  const parts: BlobPart[] = [];
  let complete = false;
  const stream = scope
    ? audit.exportAuditEvents({ organization: scope, filter, format }, options)
    : audit.exportPlatformAuditEvents({ filter, format }, options);
  for await (const { data, end } of stream) {
    if (data.length > 0) parts.push(data.slice());
    if (end) complete = true;
  }
  if (!complete) throw new Error("the export ended before its end");
  return new Blob(parts, { type: form === "csv" ? "text/csv" : "application/x-ndjson" });
}
