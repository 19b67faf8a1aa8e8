import type { Metadata } from "next";

export const metadata: Metadata = { title: "New project" };
export { NewProjectPage as default } from "@/views/new-project";
