"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { auth } from "@/api/clients";
import { explain, told } from "@/api/errors";
import { keys } from "@/api/keys";
import { useSessions } from "@/api/queries/account";
import type { Session } from "@/gen/supalove/v1/auth_pb";
import { millis } from "@/lib/time";
import { programOf } from "@/lib/user-agent";
import { Button, type Column, ErrorState, RelativeTime, Section, Table, Tag, toast, toastFailure } from "@/ui";
import { messages as say } from "./messages";

export function SessionList() {
  const cache = useQueryClient();
  const { data, error, refetch } = useSessions();
  const after = {
    onError: (error: unknown) => toastFailure(told(explain(error))),
    onSettled: () => cache.invalidateQueries({ queryKey: keys.sessions }),
  };
  const end = useMutation({
    mutationFn: (sessionId: string) => auth.endSession({ sessionId }),
    onSuccess: () => toast(say.ended),
    ...after,
  });
  const endOthers = useMutation({
    mutationFn: () => auth.endOtherSessions({}),
    onSuccess: ({ sessionsEnded }) => toast(say.endedOthers(sessionsEnded)),
    ...after,
  });
  if (error && !data) return <ErrorState title={say.sessionsFailed} error={error} onRetry={() => void refetch()} />;
  return (
    <Section
      first
      title={say.sessions}
      actions={
        data &&
        data.length > 1 && (
          <Button busy={endOthers.isPending} onClick={() => endOthers.mutate()}>
            {say.endOthers}
          </Button>
        )
      }
    >
      <Table
        caption={say.sessionsWhat}
        columns={columns((session) => end.mutate(session.id), end.isPending ? end.variables : undefined)}
        rows={data}
        rowKey={({ id }) => id}
      />
    </Section>
  );
}

function columns(end: (session: Session) => void, ending: string | undefined): Column<Session>[] {
  const program = ({ userAgent }: Session) => (userAgent ? programOf(userAgent) : say.unknownProgram);
  return [
    {
      id: "program",
      head: say.program,
      cell: (session) => (
        <div className="min-w-0">
          <div className="flex items-center gap-2">
            <span className="truncate font-medium">{program(session)}</span>
            {session.current && <Tag brand>{say.thisOne}</Tag>}
          </div>
          <div className="code truncate text-12 text-ink-3">{session.clientAddress}</div>
        </div>
      ),
    },
    { id: "signed-in", head: say.signedIn, wide: true, cell: (session) => <RelativeTime time={millis(session.createTime)} /> },
    { id: "seen", head: say.lastSeen, cell: (session) => <RelativeTime time={millis(session.refreshTime)} /> },
    {
      id: "acts",
      head: "Actions",
      hideHead: true,
      right: true,
      cell: (session) =>
        !session.current && (
          <Button
            size="small"
            look="ghost"
            aria-label={say.endOne(program(session))}
            busy={ending === session.id}
            onClick={() => end(session)}
          >
            {say.end}
          </Button>
        ),
    },
  ];
}
