import type { Metadata } from "next";

export const metadata: Metadata = { title: "Audit log" };
export { PlatformAuditPage as default } from "@/views/audit";
