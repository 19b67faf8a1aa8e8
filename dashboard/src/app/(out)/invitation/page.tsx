import type { Metadata } from "next";

export const metadata: Metadata = { title: "Invitation" };
export { InvitationPage as default } from "@/views/invitation";
