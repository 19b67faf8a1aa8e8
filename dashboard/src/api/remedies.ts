/** What helps, by the reason of an error, where the server's message does not say it. After docs/guides/errors.md. */

import { inWords } from "@/lib/time";

const REMEDIES: Record<string, string> = {
  ALREADY_EXISTS: "Choose another name.",
  NAME_HELD_BY_DELETED_PROJECT: "Restore that project, or choose another name.",
  PERMISSION_DENIED: "Ask an owner of the organization for a role that allows it.",
  NOT_FOUND: "It may have been deleted, or you are not a member.",
  CONFLICT: "Somebody else changed it at the same time. Try again.",
  ETAG_MISMATCH: "Somebody else has changed it meanwhile. Load it again and look at what it is now.",
  BUSY: "Try again in a moment.",
  INTERNAL: "Search the controller's log for the number below.",
  QUOTA_EXCEEDED: "Delete something that nobody needs, or ask the operator for another plan.",
  LINK_INVALID: "Ask for another link.",
  SETUP_TOKEN_INVALID: "The controller writes the one that works into its setup token file.",
  SIGN_UP_CLOSED: "Ask a member for an invitation.",
  ONLY_OWNER: "Make another member an owner of each, or delete them.",
  LAST_OWNER: "Make another member an owner first.",
  MAIL_NOT_SET_UP: "Ask the operator: the platform sends no mail.",
  UNDO_WINDOW_CLOSED: "Its data is gone. Create a new project.",
  NOT_PLACED: "Wait for room, cancel the operation, or delete the project.",
  ORGANIZATION_NOT_EMPTY: "Delete its projects and private clusters first.",
  INVITATION_FOR_ANOTHER: "Sign in with the account of that address.",
  AGENT_TOO_OLD: "Ask the operator to upgrade the agent on that host.",
};

export function remedyOf(reason: string, retryAfterMs?: number): string {
  const wait = retryAfterMs && retryAfterMs >= 1000 ? `Try again in ${inWords(retryAfterMs)}.` : undefined;
  if (reason === "TOO_OFTEN" || reason === "BUSY" || reason === "UNAVAILABLE") return wait ?? "Try again in a moment.";
  return REMEDIES[reason] ?? "";
}
