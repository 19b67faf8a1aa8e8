export const messages = {
  title: (organization: string) => `Join ${organization}`,
  waiting: "Invitation",
  noToken: "Open the link of your invitation once more, or ask whoever invited you for another one.",
  what: (inviter: string, email: string, role: string) => `${inviter} invites ${email} as ${role}.`,
  until: "The link works",
  accept: "Accept invitation",
  create: "Create account and join",
  newHere: "Choose a password for your new account.",
  have: "You have an account with this address?",
  signIn: "Sign in to accept",
  roles: { 0: "a member", 1: "an owner", 2: "an administrator", 3: "a developer", 4: "a member who reads" } as Record<
    number,
    string
  >,
};
