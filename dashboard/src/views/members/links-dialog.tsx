"use client";

import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { Button, Confirm, Dialog, useCopy } from "@/ui";
import { inviteMessages as say } from "./messages";

export interface Link {
  email: string;
  token: string;
}

/** Links of invitations that no mail carries: they are shown once, and closing asks until each was copied. */
export function LinksDialog({ links, onClose }: { links: Link[]; onClose: () => void }) {
  const [copied, setCopied] = useState<string[]>([]);
  const [asks, setAsks] = useState(false);
  const close = () => (copied.length < links.length ? setAsks(true) : onClose());
  return (
    <>
      <Dialog
        open
        onClose={close}
        title={say.linksTitle(links.length)}
        description={say.linksWhat}
        footer={
          <Button look="primary" onClick={close}>
            {say.done}
          </Button>
        }
      >
        <ul className="flex flex-col gap-3">
          {links.map((link) => (
            <li key={link.email}>
              <LinkRow link={link} onCopied={() => setCopied((known) => [...new Set([...known, link.email])])} />
            </li>
          ))}
        </ul>
      </Dialog>
      <Confirm
        open={asks}
        onClose={() => setAsks(false)}
        title="Close without copying"
        description="A link that you have not copied is gone. You can make a new one from the list of open invitations."
        action="Close without copying"
        danger
        onConfirm={onClose}
      />
    </>
  );
}

function LinkRow({ link, onCopied }: { link: Link; onCopied: () => void }) {
  const { copied, copy } = useCopy();
  const href = `${location.origin}/invite#token=${link.token}`;
  return (
    <div className="rounded-2 border border-line bg-sunken">
      <div className="flex items-center gap-2 border-b border-line py-1.5 pr-1.5 pl-3">
        <span className="min-w-0 flex-1 truncate text-13 font-medium">{link.email}</span>
        <Button
          size="small"
          icon={copied ? Check : Copy}
          onClick={() => {
            void copy(href);
            onCopied();
          }}
        >
          Copy link<span className="sr-only"> of {link.email}</span>
        </Button>
      </div>
      <code className="code block px-3 py-2 text-13 text-ink-2 wrap-anywhere">{href}</code>
    </div>
  );
}
