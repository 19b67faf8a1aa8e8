import { PersonalAccessTokenScope as Scope } from "@/gen/supalove/v1/personal_access_token_pb";
import { count } from "@/lib/words";

export const messages = {
  title: "Account",
  sections: "Sections of your account",
  profile: "Profile",
  security: "Password",
  sessions: "Sessions",
  tokens: "Access tokens",
  appearance: "Appearance",
  save: "Save",
  saved: "Your name is saved",

  name: "Name",
  nameWhat: "As other members see it.",
  email: "E-mail address",
  emailNow: (email: string) => `You sign in with ${email}.`,
  emailNew: "New address",
  emailSend: "Send link",
  emailSent: (email: string) => `A link is on its way to ${email}. The address changes when somebody confirms it there.`,
  noMail: "This platform sends no mail, so addresses cannot be changed.",
  currentPassword: "Current password",

  delete: "Delete account",
  deleteWhat: "Ends your sessions, tokens and memberships. Organizations that you alone own must go first.",
  deleteAsk: "Your account is gone at once. This cannot be undone.",

  passwordTitle: "Change password",
  passwordWhat: "Your other sessions end. Access tokens stay: revoke those that somebody else may have made.",
  newPassword: "New password",
  passwordHint: "At least 10 characters, and not easy to guess.",
  change: "Change password",
  changed: (sessions: number, tokens: number) =>
    `Your password is changed. ${count(sessions, "other session")} ended.${tokens > 0 ? ` ${count(tokens, "access token")} still ${tokens === 1 ? "works" : "work"}.` : ""}`,

  sessionsWhat: "Each sign-in that has not ended.",
  thisOne: "This one",
  unknownProgram: "Unknown program",
  signedIn: "Signed in",
  lastSeen: "Last seen",
  address: "Address",
  program: "Program",
  end: "End",
  endOne: (program: string) => `End the session of ${program}`,
  ended: "The session has ended",
  endOthers: "End all others",
  endedOthers: (number: number) => `${count(number, "session")} ended`,
  sessionsFailed: "Your sessions could not be loaded",

  tokensWhat: "For programs that act as you, with what their scopes allow.",
  newToken: "New token",
  tokensFailed: "Your tokens could not be loaded",
  noTokensTitle: "Make a token for a program",
  noTokens: "The command line and the SDKs take one instead of your password.",
  tokenName: "Name",
  tokenNameHint: "What it is for, to tell it from others.",
  scopes: "What it may do",
  expires: "Expires",
  never: "never",
  used: "Last used",
  createToken: "Create token",
  tokenMade: "Copy your token",
  tokenOnce: "It is shown only now. Whoever has it can do what its scopes allow.",
  revoke: "Revoke",
  revokeTitle: (name: string) => `Revoke ${name}`,
  revokeWhat: "Programs that use it are refused at once. This cannot be undone.",
  revoked: (name: string) => `${name} is revoked`,
  done: "Done",
  scopeNeeded: "Choose at least one.",

  theme: "Theme",
  themeWhat: "System follows your device.",
  letters: "Shortcuts of single letters",
  lettersWhat: "G P, /, ? and so on. Turn them off if you dictate or type without a keyboard.",
};

export const SCOPES: { scope: Scope; label: string; hint: string }[] = [
  { scope: Scope.READ, label: "Read", hint: "Profile, organizations, projects, operations and private clusters" },
  { scope: Scope.PROJECTS, label: "Projects", hint: "Create, change and delete projects" },
  { scope: Scope.SECRETS, label: "Secrets", hint: "Read and change secrets, keys and passwords of projects" },
  {
    scope: Scope.ORGANIZATIONS,
    label: "Organizations",
    hint: "Organizations, members, private clusters, audit logs and transfers",
  },
];
export const PLATFORM_SCOPE = { scope: Scope.PLATFORM, label: "Platform", hint: "Run the platform" };

export const LIFETIMES = [
  { value: "7", label: "7 days" },
  { value: "30", label: "30 days" },
  { value: "90", label: "90 days" },
  { value: "366", label: "A year" },
];
