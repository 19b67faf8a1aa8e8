import { Role } from "@/gen/supalove/v1/organization_pb";
import { count } from "@/lib/words";

export const messages = {
  title: "Members",
  invite: "Invite people",
  failed: "Members could not be loaded",
  caption: (organization: string) => `Members of ${organization}`,
  you: "You",
  roleOf: (name: string) => `Role of ${name}`,
  seats: (used: number, limit: number, plan: string) =>
    `${used} of ${count(limit, "seat")}${plan ? ` on the ${plan} plan` : ""}.`,
  pending: (number: number) => ` ${count(number, "open invitation")}.`,
  remove: "Remove",
  removeTitle: (name: string) => `Remove ${name}`,
  removeWhat: (name: string, organization: string) =>
    `${name} sees nothing of ${organization} any more, at once. Projects and data stay. Somebody can invite them again.`,
  removed: (name: string) => `${name} is no member any more`,
  leave: "Leave",
  leaveTitle: (organization: string) => `Leave ${organization}`,
  leaveWhat: (organization: string) =>
    `You see nothing of ${organization} any more. Projects and data stay. Coming back needs an invitation.`,
  left: (organization: string) => `You have left ${organization}`,
  lastOwnerTitle: (organization: string) => `${organization} needs an owner`,
  lastOwner: "You are its only owner. Make another member an owner first; then you can leave, or take a smaller role.",
  understood: "Close",
  roleChanged: (name: string, role: string) => `${name} is ${role} now`,
  invitations: "Open invitations",
  invitationsFailed: "Invitations could not be loaded",
  invitedBy: (who: string) => `Invited by ${who}, `,
  expired: "Expired",
  expires: "Expires ",
  resend: "Resend",
  newLink: "New link",
  revoke: (email: string) => `Revoke the invitation of ${email}`,
  revokeTitle: "Revoke invitation",
  revokeWhat: (email: string) => `The link that ${email} has stops working. You can invite them again.`,
  revoked: (email: string) => `The invitation of ${email} is revoked`,
  resent: (email: string) => `${email} has a new link`,
};

export const inviteMessages = {
  title: (organization: string) => `Invite people to ${organization}`,
  description: "Each gets a link that works once, for the account of that address.",
  emails: "E-mail addresses",
  hint: (using: number, free: number) =>
    using === 0
      ? `Comma, space or a pasted list. ${count(free, "free seat")}.`
      : `Comma, space or a pasted list. ${using} of ${count(free, "free seat")} will be used.`,
  role: "Role",
  remove: (email: string) => `Remove ${email}`,
  none: "Enter an e-mail address.",
  wrong: (text: string) => `“${text}” is no e-mail address.`,
  tooMany: (free: number, plan: string) =>
    `${free === 0 ? "No seat is" : `Only ${count(free, "seat")} ${free === 1 ? "is" : "are"}`} free on the ${plan} plan.`,
  send: (number: number) => (number < 2 ? "Send 1 invitation" : `Send ${number} invitations`),
  sent: (number: number) => (number === 1 ? "1 invitation is sent" : `${number} invitations are sent`),
  linksTitle: (number: number) => (number === 1 ? "Pass on the link" : "Pass on the links"),
  linksWhat: "This platform sends no mail. Copy each link and give it to the person: it is shown only now, and works once.",
  linkOf: (email: string) => `invitation link of ${email}`,
  notInvited: (email: string) => `${email} was not invited.`,
  done: "Close",
};

/** What a role may do, where one chooses it. */
export const ROLE_HINTS: Partial<Record<Role, string>> = {
  [Role.OWNER]: "Everything, also other owners and deleting the organization.",
  [Role.ADMINISTRATOR]: "All projects, members and settings. Cannot delete the organization.",
  [Role.DEVELOPER]: "Works in all projects and sees their secrets.",
  [Role.READ_ONLY]: "Looks, changes nothing. Sees no secrets.",
};
