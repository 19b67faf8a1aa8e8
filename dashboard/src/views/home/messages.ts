export const messages = {
  title: "Create your organization",
  description: "Projects belong to an organization, and so do the people who work on them.",
  submit: "Create organization",
  failedTitle: "Supalove",
  failed: "Your organizations could not be loaded",
};
