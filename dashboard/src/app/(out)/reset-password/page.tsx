import type { Metadata } from "next";

export const metadata: Metadata = { title: "Reset password" };
export { ResetPasswordPage as default } from "@/views/reset-password";
