"use client";

import { usePathname, useRouter } from "next/navigation";
import { type ReactNode, useEffect, useState } from "react";
import { startSession } from "@/api/session";
import { paths } from "@/lib/routes";
import { ErrorState } from "@/ui";
import { Banner } from "./banner";
import { LazyPalette } from "./lazy-palette";
import { LeaveGuard } from "./leave-guard";
import { MobileNav } from "./mobile-nav";
import { Shortcuts } from "./shortcuts";
import { Sidebar } from "./sidebar";
import { TopBar } from "./top-bar";
import { useFolded } from "./use-folded";
import { useMounted, useSession } from "./use-session";

/** The frame of every page for who is signed in: sidebar, sheet, bar. Until it is known who that is, the empty frame. */
export function Shell({ children }: { children: ReactNode }) {
  const mounted = useMounted();
  const session = useSession();
  const router = useRouter();
  const pathname = usePathname();
  const [problem, setProblem] = useState<unknown>();
  const [attempt, setAttempt] = useState(0);
  const [folded] = useFolded();

  // biome-ignore lint/correctness/useExhaustiveDependencies: each attempt starts anew
  useEffect(() => {
    setProblem(undefined);
    startSession().catch(setProblem);
  }, [attempt]);
  useEffect(() => {
    if (session === "out") router.replace(paths.signIn(pathname + location.search));
  }, [session, router, pathname]);

  const known = mounted && (session === "in" || session === "lost");
  return (
    <div
      data-shell
      data-folded={(mounted && folded) || undefined}
      className="group/shell grid min-h-dvh grid-cols-[minmax(0,1fr)] md:grid-cols-[15rem_minmax(0,1fr)] md:data-folded:grid-cols-[3.5rem_minmax(0,1fr)]"
    >
      <a
        href="#main"
        className="fixed -top-16 left-3 z-60 rounded-2 bg-primary px-3 py-1.5 text-13 font-medium text-on-primary focus:top-3"
      >
        Skip to content
      </a>
      <aside className="sticky top-0 flex h-dvh flex-col px-3 pt-2 pb-3 text-13 max-md:hidden">{known && <Sidebar />}</aside>
      <div className="flex min-h-dvh min-w-0 flex-col border-line bg-surface md:my-2 md:mr-2 md:min-h-[calc(100dvh-1rem)] md:rounded-3 md:border">
        {known ? <TopBar menu={<MobileNav />} /> : <div className="h-13 border-b border-line" />}
        {known && <Banner />}
        <main id="main" className="flex min-w-0 flex-1 flex-col" aria-busy={!known || undefined}>
          {known && children}
          {problem !== undefined && !known && (
            <div className="mx-auto w-full max-w-292 p-4 md:p-8">
              <ErrorState title="The dashboard could not be opened" error={problem} onRetry={() => setAttempt(attempt + 1)} />
            </div>
          )}
        </main>
      </div>
      {known && <Shortcuts />}
      {known && <LazyPalette />}
      {known && <LeaveGuard />}
    </div>
  );
}
