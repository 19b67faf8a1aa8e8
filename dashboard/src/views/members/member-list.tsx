"use client";

import { LogOut, UserMinus } from "lucide-react";
import type { Member, Role } from "@/gen/supalove/v1/organization_pb";
import { roleName } from "@/lib/roles";
import { millis } from "@/lib/time";
import { ActionsMenu, Avatar, type Column, MenuItem, RelativeTime, Select, Table, Tag } from "@/ui";
import { ROLE_HINTS, messages as say } from "./messages";
import { givable, mayChange } from "./roles";

export interface MemberActs {
  change: (member: Member, role: Role) => void;
  remove: (member: Member) => void;
  leave: () => void;
}

interface Props {
  organization: string;
  members: Member[] | undefined;
  /** The caller: "usr_…" and role. */
  me: string | undefined;
  role: Role | undefined;
  acts: MemberActs;
}

export const nameOf = (member: Pick<Member, "displayName" | "email">): string => member.displayName || member.email;

export function MemberList({ organization, members, me, role, acts }: Props) {
  const columns: Column<Member>[] = [
    {
      id: "member",
      head: "Member",
      className: "md:w-2/5",
      cell: (member) => (
        <div className="flex min-w-0 items-center gap-3">
          <span className="max-md:hidden">
            <Avatar name={nameOf(member)} />
          </span>
          <div className="min-w-0">
            <div className="flex min-w-0 items-center gap-2">
              <span className="truncate font-medium">{nameOf(member)}</span>
              {member.userId === me && <Tag>{say.you}</Tag>}
            </div>
            {member.displayName && <div className="truncate text-12 text-ink-3">{member.email}</div>}
          </div>
        </div>
      ),
    },
    {
      id: "role",
      head: "Role",
      className: "md:w-1/4",
      cell: (member) =>
        mayChange(role, member) ? (
          <Select
            plain
            label={say.roleOf(nameOf(member))}
            value={String(member.role)}
            onChange={(value) => Number(value) !== member.role && acts.change(member, Number(value))}
            options={givable(role).map((one) => ({ value: String(one), label: roleName(one), hint: ROLE_HINTS[one] }))}
          />
        ) : (
          <span className="font-medium text-ink-2">{roleName(member.role)}</span>
        ),
    },
    {
      id: "since",
      head: "Member since",
      wide: true,
      cell: (member) => (
        <span className="text-ink-2">
          <RelativeTime time={millis(member.createTime)} />
        </span>
      ),
    },
    {
      id: "actions",
      head: "Actions",
      hideHead: true,
      right: true,
      className: "w-12",
      cell: (member) => {
        const mine = member.userId === me;
        if (!mine && !mayChange(role, member)) return null;
        return (
          <ActionsMenu of={nameOf(member)}>
            {mine ? (
              <MenuItem icon={LogOut} danger onSelect={acts.leave}>
                {say.leave}
              </MenuItem>
            ) : (
              <MenuItem icon={UserMinus} danger onSelect={() => acts.remove(member)}>
                {say.remove}
              </MenuItem>
            )}
          </ActionsMenu>
        );
      },
    },
  ];
  return (
    <Table caption={say.caption(organization)} columns={columns} rows={members} rowKey={({ userId }) => userId} expected={4} />
  );
}
