export const messages = {
  title: "Set up Supalove",
  sub: "Create the first account. It runs this platform.",
  token: "Setup token",
  tokenHint: "The controller wrote it at its first start: to its setup token file, else to its standard error.",
  name: "Your name",
  email: "E-mail address",
  password: "Password",
  passwordHint: "At least 10 characters, and not easy to guess.",
  submit: "Create account",
  done: "Somebody has set up this platform already?",
  signIn: "Sign in",
};
