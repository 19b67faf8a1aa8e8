import type { Metadata } from "next";

export const metadata: Metadata = { title: "Sign up" };
export { SignUpPage as default } from "@/views/sign-up";
