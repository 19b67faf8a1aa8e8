import type { Metadata } from "next";

export const metadata: Metadata = { title: "Settings" };
export { OrganizationSettingsPage as default } from "@/views/organization-settings";
