"use client";

import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { Button, cx, Segmented, useCopy } from "@/ui";
import { messages as say } from "./messages";
import { pieces, snippet, type Values, type Way, waysOf } from "./snippets";

const COLOURS = { plain: "", keyword: "text-code-keyword", string: "text-code-string" };

/** How to connect, to be pasted as it is. */
export function Connect({ values }: { values: Values }) {
  const ways = waysOf(values);
  const [wanted, setWanted] = useState<Way>("supabase-js");
  const { copied, copy } = useCopy();
  const way = ways.includes(wanted) ? wanted : ways[0];
  if (!way) return null;
  const code = snippet(way, values);
  return (
    <section aria-label={say.connect} className="flex min-w-0 flex-col p-4 md:p-5">
      <div className="mb-3 flex items-center justify-between gap-2">
        <Segmented
          label={say.connect}
          value={way}
          segments={ways.map((value) => ({ value, label: value }))}
          onChange={setWanted}
        />
        <Button look="ghost" icon={copied ? Check : Copy} onClick={() => void copy(code)}>
          {copied ? say.copied : say.copy}
        </Button>
      </div>
      <pre
        // Long lines scroll, so the keyboard has to reach it.
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scroll region
        tabIndex={0}
        className="min-h-36 flex-1 overflow-x-auto rounded-2 border border-line bg-sunken p-4 text-13 leading-5"
      >
        <code className="code">
          {pieces(code).map(({ text, kind }, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: the pieces are places in the text
            <span key={index} className={cx(COLOURS[kind])}>
              {text}
            </span>
          ))}
        </code>
      </pre>
    </section>
  );
}
