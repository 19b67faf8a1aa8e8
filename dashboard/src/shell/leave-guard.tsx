"use client";

import { useRouter } from "next/navigation";
import { useEffect, useState } from "react";
import { isUnsaved } from "@/lib/unsaved";
import { Confirm } from "@/ui";

/** Asks before a link leaves a page with something unsaved (`useUnsaved`). */
export function LeaveGuard() {
  const router = useRouter();
  const [to, setTo] = useState<string>();
  useEffect(() => {
    const onClick = (event: MouseEvent) => {
      if (!isUnsaved() || event.defaultPrevented || event.metaKey || event.ctrlKey || event.shiftKey) return;
      const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
      if (!(link instanceof HTMLAnchorElement) || link.target || link.origin !== location.origin) return;
      if (link.pathname === location.pathname) return;
      event.preventDefault();
      event.stopPropagation();
      setTo(link.pathname + link.search);
    };
    document.addEventListener("click", onClick, { capture: true });
    return () => document.removeEventListener("click", onClick, { capture: true });
  }, []);
  return (
    <Confirm
      open={to !== undefined}
      onClose={() => setTo(undefined)}
      title="Leave without saving"
      description="What you have changed on this page is lost."
      action="Leave without saving"
      danger
      onConfirm={() => {
        setTo(undefined);
        if (to) router.push(to);
      }}
    />
  );
}
