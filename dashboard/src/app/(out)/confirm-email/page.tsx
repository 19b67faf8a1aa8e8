import type { Metadata } from "next";

export const metadata: Metadata = { title: "Confirm address" };
export { ConfirmEmailPage as default } from "@/views/confirm-email";
