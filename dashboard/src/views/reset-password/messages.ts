export const messages = {
  title: "Reset your password",
  sub: "We mail you a link. With it you choose a new one.",
  send: "Send link",
  sentTitle: "Look into your mailbox",
  sent: (email: string) => `If ${email} has an account, a link is on its way. It works once, for an hour.`,
  again: "Send another link",
  chooseTitle: "Choose a new password",
  chooseSub: "All sessions and access tokens of your account end.",
  newPassword: "New password",
  change: "Change password",
  back: "Back to sign in",
};
