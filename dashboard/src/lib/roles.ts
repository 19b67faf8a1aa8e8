/** What a role may do, as docs/guides/security.md has it. The server decides; this hides what would be refused. */

import { Role } from "@/gen/supalove/v1/organization_pb";

export const ROLE_NAMES: Record<Role, string> = {
  [Role.UNSPECIFIED]: "No role",
  [Role.OWNER]: "Owner",
  [Role.ADMINISTRATOR]: "Administrator",
  [Role.DEVELOPER]: "Developer",
  [Role.READ_ONLY]: "Read only",
};

export const roleName = (role: Role): string => ROLE_NAMES[role] ?? `Role ${role}`;

/** Create, start, stop, delete and change projects; read their secrets. */
export const mayOperate = (role: Role | undefined): boolean =>
  role === Role.OWNER || role === Role.ADMINISTRATOR || role === Role.DEVELOPER;

/** Invite and change members, change the organization, manage private clusters. */
export const mayAdminister = (role: Role | undefined): boolean => role === Role.OWNER || role === Role.ADMINISTRATOR;
