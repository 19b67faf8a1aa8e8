import type { Metadata } from "next";

export const metadata: Metadata = { title: "Overview" };
export { ProjectPage as default } from "@/views/project";
