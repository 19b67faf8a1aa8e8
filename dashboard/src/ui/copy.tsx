"use client";

import { Check, Copy, Eye, EyeOff } from "lucide-react";
import { type ReactNode, useCallback, useEffect, useRef, useState } from "react";
import { explain } from "@/api/errors";
import { IconButton } from "./button";
import { cx } from "./cx";

/** Copies a text that is known, or one that `value` fetches on the press. */
export function CopyButton({
  value,
  what,
  className,
}: {
  value: string | (() => Promise<string>);
  what: string;
  className?: string;
}) {
  const { copied, copy } = useCopy();
  return (
    <>
      <IconButton
        small
        label={`Copy ${what}`}
        icon={copied ? Check : Copy}
        onClick={() => void copy(value)}
        className={cx(copied && "text-ok-dot", className)}
      />
      <span role="status" className="sr-only">
        {copied && `Copied ${what}`}
      </span>
    </>
  );
}

export function useCopy() {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1_600);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = useCallback(async (value: string | (() => Promise<string>)) => {
    await write(typeof value === "string" ? value : await value());
    setCopied(true);
  }, []);
  return { copied, copy };
}

/** A page without TLS on other hosts than loopback has no clipboard. */
async function write(text: string): Promise<void> {
  if (navigator.clipboard) return await navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** One line to copy: a ref, an address, a command. */
export function CopyField({
  value,
  what,
  wraps,
  children,
}: {
  value: string;
  what: string;
  wraps?: boolean;
  children?: ReactNode;
}) {
  return (
    <div className="flex min-h-10 min-w-0 items-center gap-1 rounded-2 border border-line bg-sunken pr-1 pl-3 md:min-h-9">
      <code className={cx("code min-w-0 flex-1", wraps ? "py-2 wrap-anywhere whitespace-pre-wrap" : "truncate")}>
        {children ?? value}
      </code>
      <CopyButton value={value} what={what} />
    </div>
  );
}

/** How long a revealed secret stays in sight. */
const SIGHT = 30_000;

/**
 * A secret: dots, until it is asked for. It is fetched on the press, held here only, and gone after 30 s, when the tab is left,
 * and with the page.
 */
export function Secret({ reveal, what }: { reveal: () => Promise<string>; what: string }) {
  const [value, setValue] = useState<string>();
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const here = useRef(true);
  useEffect(() => {
    here.current = true;
    return () => {
      here.current = false;
    };
  }, []);
  useEffect(() => {
    if (value === undefined) return;
    const hide = () => setValue(undefined);
    const timer = setTimeout(hide, SIGHT);
    document.addEventListener("visibilitychange", hide);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", hide);
    };
  }, [value]);

  const show = async () => {
    setBusy(true);
    setProblem("");
    try {
      const secret = await reveal();
      if (here.current) setValue(secret);
    } catch (error) {
      if (here.current) setProblem(explain(error).message);
    } finally {
      if (here.current) setBusy(false);
    }
  };
  return (
    <div className="min-w-0 flex-1">
      <div className="flex min-w-0 items-center gap-1" aria-busy={busy || undefined}>
        <code className="code min-w-0 flex-1 wrap-anywhere">
          {value ?? (
            <>
              <span aria-hidden="true">••••••••••••••••</span>
              <span className="sr-only">hidden</span>
            </>
          )}
        </code>
        <IconButton
          small
          label={value === undefined ? `Reveal ${what}` : `Hide ${what}`}
          icon={value === undefined ? Eye : EyeOff}
          onClick={value === undefined ? () => void show() : () => setValue(undefined)}
        />
        <CopyButton value={value ?? reveal} what={what} />
      </div>
      {problem && (
        <p role="alert" className="text-12 text-bad">
          {problem}
        </p>
      )}
    </div>
  );
}
