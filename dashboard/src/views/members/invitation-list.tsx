"use client";

import { Mail, X } from "lucide-react";
import type { Invitation } from "@/gen/supalove/v1/invitation_pb";
import { roleName } from "@/lib/roles";
import { millis } from "@/lib/time";
import { Button, type Column, Icon, IconButton, RelativeTime, Table, useNow } from "@/ui";
import { messages as say } from "./messages";

interface Props {
  invitations: Invitation[];
  /** Id of the one that is being sent again. */
  resending: string | undefined;
  onResend: (invitation: Invitation) => void;
  onRevoke: (invitation: Invitation) => void;
}

export function InvitationList({ invitations, resending, onResend, onRevoke }: Props) {
  const columns: Column<Invitation>[] = [
    {
      id: "email",
      head: "Invited",
      className: "md:w-2/5",
      cell: (invitation) => (
        <div className="flex min-w-0 items-center gap-3">
          <span className="inline-flex size-7 shrink-0 items-center justify-center rounded-full border border-control border-dashed text-ink-3 max-md:hidden">
            <Icon of={Mail} small />
          </span>
          <div className="min-w-0">
            <div className="truncate font-medium">{invitation.email}</div>
            <div className="truncate text-12 text-ink-3">
              <span className="md:hidden">{roleName(invitation.role)}, </span>
              <span className="max-md:hidden">{say.invitedBy(invitation.invitedBy)}</span>
              <span className="max-md:hidden">
                <RelativeTime time={millis(invitation.createTime)} />
              </span>
              <span className="md:hidden">
                <Expiry time={millis(invitation.expireTime)} small />
              </span>
            </div>
          </div>
        </div>
      ),
    },
    {
      id: "role",
      head: "Role",
      wide: true,
      className: "md:w-1/4",
      cell: ({ role }) => <span className="text-ink-2">{roleName(role)}</span>,
    },
    {
      id: "expires",
      head: "Link",
      wide: true,
      cell: ({ expireTime }) => <Expiry time={millis(expireTime)} />,
    },
    {
      id: "actions",
      head: "Actions",
      hideHead: true,
      right: true,
      className: "md:w-40",
      cell: (invitation) => (
        <div className="flex items-center justify-end gap-1">
          <Button
            look="ghost"
            size="small"
            busy={resending === invitation.id}
            onClick={() => onResend(invitation)}
            className="max-md:px-2"
          >
            {invitation.mailed ? say.resend : say.newLink}
            <span className="sr-only"> for {invitation.email}</span>
          </Button>
          <IconButton small label={say.revoke(invitation.email)} icon={X} onClick={() => onRevoke(invitation)} />
        </div>
      ),
    },
  ];
  return <Table caption={say.invitations} columns={columns} rows={invitations} rowKey={({ id }) => id} />;
}

function Expiry({ time, small }: { time: number | undefined; small?: boolean }) {
  const now = useNow(time);
  if (time !== undefined && time < now) return <span className={small ? "" : "font-medium text-warn"}>{say.expired}</span>;
  return (
    <span className={small ? "" : "text-ink-2"}>
      {small ? say.expires.toLowerCase() : say.expires}
      <RelativeTime time={time} />
    </span>
  );
}
