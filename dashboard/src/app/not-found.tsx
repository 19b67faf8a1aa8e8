import type { Metadata } from "next";
import { Heart } from "@/ui/heart";

export const metadata: Metadata = { title: "Not found" };

/** For paths that are no page's. Objects that do not exist are told by the page, in the shell. */
export default function NotFound() {
  return (
    <main id="main" className="flex min-h-dvh flex-col items-center justify-center px-6 text-center">
      <Heart bars={["none"]} className="w-10" />
      <h1 className="mt-4 text-20 font-semibold tracking-title">There is no such page</h1>
      <p className="mt-1 text-14 text-ink-2">The address may be old, or mistyped.</p>
      <a href="/" className="mt-5 text-13 font-medium text-link hover:underline">
        Go to your projects
      </a>
    </main>
  );
}
