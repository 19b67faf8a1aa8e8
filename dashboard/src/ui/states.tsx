"use client";

import type { UseQueryResult } from "@tanstack/react-query";
import { Lock, type LucideIcon, RotateCw, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { explain } from "@/api/errors";
import { Button } from "./button";
import { CopyButton } from "./copy";
import { cx } from "./cx";
import { Heart } from "./heart";
import { Icon } from "./icon";
import { Card } from "./small";

interface EmptyProps {
  /** Starts the work: "Create your first project". */
  title: string;
  children?: ReactNode;
  action?: ReactNode;
  icon?: LucideIcon;
  className?: string;
}

/** Nothing yet, and what to do about it. The box is as large as the full state's. */
export function EmptyState({ title, children, action, icon, className }: EmptyProps) {
  return (
    <Box className={className} sign={icon ? <Icon of={icon} className="text-ink-3" /> : <Heart bars={[]} className="w-10" />}>
      <h2 className="text-14 font-semibold tracking-name">{title}</h2>
      {children && <p className="mt-1 text-13 text-ink-2">{children}</p>}
      {action && <div className="mt-4 flex flex-wrap justify-center gap-2">{action}</div>}
    </Box>
  );
}

interface ErrorProps {
  /** What could not be done: "Projects could not be loaded". */
  title: string;
  error: unknown;
  onRetry?: () => void;
  action?: ReactNode;
  className?: string;
}

/** In the place of what failed: the cause, Try again, one remedy; the code small, for a report. */
export function ErrorState({ title, error, onRetry, action, className }: ErrorProps) {
  const problem = explain(error);
  const code = [problem.reason || problem.codeName, problem.traceId].filter(Boolean).join(" · ");
  return (
    <Box className={className} sign={<Icon of={TriangleAlert} className="text-bad-dot" />} alert>
      <h2 className="text-14 font-semibold tracking-name">{title}</h2>
      <p className="mt-1 text-13 text-ink-2">
        {problem.message} {problem.remedy}
      </p>
      <div className="mt-4 flex flex-wrap justify-center gap-2">
        {onRetry && (
          <Button icon={RotateCw} onClick={onRetry}>
            Try again
          </Button>
        )}
        {action}
      </div>
      <p className="mt-4 flex items-center justify-center gap-1 text-12 text-ink-3">
        <span className="code wrap-anywhere">{code}</span>
        <CopyButton value={code} what="code" />
      </p>
    </Box>
  );
}

/** What one may not see or do, which role one has, and who can. */
export function Refused({ title, children, action }: { title: string; children: ReactNode; action?: ReactNode }) {
  return (
    <Box sign={<Icon of={Lock} className="text-ink-3" />}>
      <h2 className="text-14 font-semibold tracking-name">{title}</h2>
      <p className="mt-1 text-13 text-ink-2">{children}</p>
      {action && <div className="mt-4 flex justify-center gap-2">{action}</div>}
    </Box>
  );
}

function Box({
  sign,
  alert,
  children,
  className,
}: {
  sign: ReactNode;
  alert?: boolean;
  children: ReactNode;
  className?: string;
}) {
  return (
    <Card className={cx("flex min-h-56 flex-col items-center justify-center px-6 py-10 text-center", className)}>
      <div className="mb-3">{sign}</div>
      <div role={alert ? "alert" : undefined} className="max-w-105">
        {children}
      </div>
    </Card>
  );
}

/** The data of a query, else the error in its place, else the boxes of what comes. Old data stays while new is fetched. */
export function Loaded<T>({
  query,
  failed,
  skeleton,
  children,
}: {
  query: UseQueryResult<T>;
  failed: string;
  skeleton: ReactNode;
  children: (data: T) => ReactNode;
}) {
  if (query.data !== undefined) return children(query.data);
  if (query.error) return <ErrorState title={failed} error={query.error} onRetry={() => void query.refetch()} />;
  return <div aria-busy="true">{skeleton}</div>;
}
