export const messages = {
  title: "Confirm your new address",
  ask: "Your account gets this address. Your other sessions end.",
  confirm: "Confirm address",
  noToken: "Open the link in the mail to your new address.",
  signInFirst: "Sign in with your old address first, in the browser in which you asked for the change.",
  signIn: "Sign in",
  doneTitle: "Your address has changed",
  done: (email: string) => `You sign in with ${email} from now on.`,
  go: "Go to Supalove",
};
