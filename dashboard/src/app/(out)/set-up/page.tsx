import type { Metadata } from "next";

export const metadata: Metadata = { title: "Set up" };
export { SetUpPage as default } from "@/views/set-up";
