import type { Metadata } from "next";

export const metadata: Metadata = { title: "Plan" };
export { PlanPage as default } from "@/views/plan";
