export const messages = {
  title: "Sign in",
  email: "E-mail address",
  password: "Password",
  forgot: "Forgot it?",
  submit: "Sign in",
  signUp: "Sign up",
  noAccount: "No account?",
  byInvitation: "No account? Ask an owner of your organization for an invitation.",
};
