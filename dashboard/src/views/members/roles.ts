/** Who may do what to a member; the server decides, this hides what it would refuse. */

import { type Member, Role } from "@/gen/supalove/v1/organization_pb";

export const ROLES = [Role.OWNER, Role.ADMINISTRATOR, Role.DEVELOPER, Role.READ_ONLY];

/** Roles that somebody with this role may give: only owners make owners. */
export function givable(mine: Role | undefined): Role[] {
  if (mine === Role.OWNER) return ROLES;
  return mine === Role.ADMINISTRATOR ? ROLES.filter((role) => role !== Role.OWNER) : [];
}

/** Only owners act on owners. */
export function mayChange(mine: Role | undefined, member: Pick<Member, "role">): boolean {
  return givable(mine).includes(member.role);
}

export function isLastOwner(members: Pick<Member, "role" | "userId">[], userId: string): boolean {
  const owners = members.filter(({ role }) => role === Role.OWNER);
  return owners.length === 1 && owners[0]?.userId === userId;
}
