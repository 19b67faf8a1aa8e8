"use client";

import { CloudOff, LogIn } from "lucide-react";
import { usePathname } from "next/navigation";
import { type ReactNode, useEffect, useState } from "react";
import { tryNow } from "@/api/live/live";
import { useConnection } from "@/api/live/use-watch";
import { paths } from "@/lib/routes";
import { Button, Icon, LinkButton } from "@/ui";
import { useSession } from "./use-session";

/** One at a time, by weight: no connection, then signed out elsewhere. */
export function Banner() {
  const connection = useConnection();
  const session = useSession();
  const pathname = usePathname();
  if (session === "lost") {
    return (
      <Bar
        icon={LogIn}
        action={
          <LinkButton size="small" href={paths.signIn(pathname)}>
            Sign in again
          </LinkButton>
        }
      >
        You are signed out. What you see is from before.
      </Bar>
    );
  }
  if (connection.stands) return null;
  const since = new Date(connection.since).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return (
    <Bar
      icon={CloudOff}
      action={
        <Button size="small" onClick={tryNow}>
          Try now
        </Button>
      }
    >
      Connection lost. What you see is from {since}. <Countdown to={connection.retryAt} />
    </Bar>
  );
}

function Bar({ icon, children, action }: { icon: typeof CloudOff; children: ReactNode; action: ReactNode }) {
  return (
    <div
      role="status"
      className="flex flex-wrap items-center gap-x-2.5 gap-y-1 border-b border-line bg-warn-soft px-4 py-2 text-13 md:px-6"
    >
      <Icon of={icon} className="text-warn" />
      <p className="min-w-0 flex-1 basis-60">{children}</p>
      {action}
    </div>
  );
}

function Countdown({ to }: { to: number }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  const left = Math.max(0, Math.ceil((to - now) / 1000));
  return <span aria-hidden="true">{left > 0 ? `Trying again in ${left} s.` : "Trying now."}</span>;
}
