import type { Metadata } from "next";

export const metadata: Metadata = { title: "Platform" };
export { PlatformPage as default } from "@/views/platform";
