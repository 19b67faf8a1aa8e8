"use client";

import { X } from "lucide-react";
import { type ClipboardEvent, type KeyboardEvent, useId, useRef, useState } from "react";
import { explain, told } from "@/api/errors";
import { type Invited, useInvite } from "@/api/mutations/members";
import { Role } from "@/gen/supalove/v1/organization_pb";
import { roleName } from "@/lib/roles";
import { Button, cx, Dialog, FormError, Icon } from "@/ui";
import { addressesIn, isAddress } from "./addresses";
import { ROLE_HINTS, inviteMessages as say } from "./messages";
import { givable } from "./roles";

interface Props {
  slug: string;
  organization: string;
  role: Role | undefined;
  /** Seats that are free; undefined as long as that is not known. */
  free: number | undefined;
  plan: string;
  onClose: () => void;
  onInvited: (invited: Invited[]) => void;
}

export function InviteDialog({ slug, organization, role: mine, free, plan, onClose, onInvited }: Props) {
  const [emails, setEmails] = useState<string[]>([]);
  const [typed, setTyped] = useState("");
  const [role, setRole] = useState(Role.DEVELOPER);
  const [wrong, setWrong] = useState("");
  const [refused, setRefused] = useState("");
  const field = useRef<HTMLInputElement>(null);
  const invite = useInvite(slug);
  const below = useId();

  /** Takes what is typed into the list; what is no address stays in the field. */
  const take = (text: string): string[] | undefined => {
    const found = addressesIn(text);
    const bad = found.filter((one) => !isAddress(one));
    const all = [...new Set([...emails, ...found.filter(isAddress)])];
    setEmails(all);
    setTyped(bad.join(" "));
    setWrong(bad[0] ? say.wrong(bad[0]) : "");
    return bad[0] ? undefined : all;
  };
  const send = () => {
    setRefused("");
    const all = take(typed);
    if (!all) return field.current?.focus();
    if (all.length === 0) {
      setWrong(say.none);
      return field.current?.focus();
    }
    if (free !== undefined && all.length > free) return setRefused(say.tooMany(free, plan));
    invite.mutate(
      { emails: all, role },
      {
        onSuccess: (invited) => {
          const failed = invited.filter(({ error }) => error);
          const done = invited.filter(({ error }) => !error);
          setEmails(failed.map(({ email }) => email));
          setRefused(failed.map(({ email, error }) => `${say.notInvited(email)} ${told(explain(error))}`).join(" "));
          if (done.length > 0) onInvited(done);
          if (failed.length === 0) onClose();
        },
      },
    );
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Backspace" && typed === "") setEmails(emails.slice(0, -1));
    if ([",", ";", " "].includes(event.key) && typed.trim()) {
      event.preventDefault();
      take(typed);
    }
  };
  const onPaste = (event: ClipboardEvent) => {
    const text = event.clipboardData.getData("text");
    if (!/[\s,;]/.test(text.trim())) return;
    event.preventDefault();
    take(`${typed} ${text}`);
  };
  const number = emails.length + (typed.trim() ? 1 : 0);
  return (
    <Dialog
      open
      onClose={onClose}
      dirty={number > 0 && !invite.isPending}
      title={say.title(organization)}
      description={say.description}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" busy={invite.isPending} onClick={send}>
            {say.send(number)}
          </Button>
        </>
      }
    >
      <form
        noValidate
        className="flex flex-col gap-5"
        onSubmit={(event) => {
          event.preventDefault();
          send();
        }}
      >
        <FormError>{refused}</FormError>
        <div>
          <label htmlFor={`${below}-field`} className="mb-1.5 block text-13 font-medium">
            {say.emails}
          </label>
          <div
            className={cx(
              "flex min-h-10 flex-wrap items-center gap-1.5 rounded-2 border bg-surface p-1 has-[input:focus-visible]:border-transparent has-[input:focus-visible]:outline-2 has-[input:focus-visible]:outline-offset-1 has-[input:focus-visible]:outline-ring",
              wrong ? "border-bad-dot" : "border-control",
            )}
          >
            {emails.map((email) => (
              <span
                key={email}
                className="inline-flex h-7 max-w-full items-center gap-1 rounded-1 border border-line bg-sunken pl-2 text-13"
              >
                <span className="truncate">{email}</span>
                <button
                  type="button"
                  aria-label={say.remove(email)}
                  onClick={() => setEmails(emails.filter((one) => one !== email))}
                  className="inline-flex size-6 items-center justify-center rounded-1 text-ink-3 hover:text-ink"
                >
                  <Icon of={X} small />
                </button>
              </span>
            ))}
            <input
              id={`${below}-field`}
              ref={field}
              inputMode="email"
              autoComplete="off"
              autoCapitalize="off"
              spellCheck={false}
              aria-describedby={below}
              aria-invalid={wrong !== "" || undefined}
              value={typed}
              onChange={(event) => {
                setTyped(event.target.value);
                setWrong("");
              }}
              onKeyDown={onKeyDown}
              onPaste={onPaste}
              onBlur={() => typed.trim() && take(typed)}
              className="h-7 min-w-40 flex-1 bg-transparent px-1.5 text-16 outline-none md:text-13"
            />
          </div>
          <p id={below} className={cx("mt-1.5 min-h-4 text-12", wrong ? "text-bad" : "text-ink-3")}>
            {wrong || (free === undefined ? "" : say.hint(number, free))}
          </p>
        </div>
        <fieldset>
          <legend className="mb-1.5 text-13 font-medium">{say.role}</legend>
          <div className="overflow-hidden rounded-3 border border-line">
            {givable(mine).map((one) => (
              <label
                key={one}
                className={cx(
                  "flex cursor-pointer gap-3 border-b border-line px-3.5 py-2.5 last:border-b-0 hover:bg-hover has-focus-visible:outline-2 has-focus-visible:-outline-offset-2 has-focus-visible:outline-ring",
                  role === one && "bg-hover",
                )}
              >
                <input
                  type="radio"
                  name={`${below}-role`}
                  checked={role === one}
                  onChange={() => setRole(one)}
                  className="mt-0.5 size-4 shrink-0 accent-brand-solid outline-none"
                />
                <span>
                  <span className="block text-13 font-medium">{roleName(one)}</span>
                  <span className="block text-13 text-ink-2">{ROLE_HINTS[one]}</span>
                </span>
              </label>
            ))}
          </div>
        </fieldset>
      </form>
    </Dialog>
  );
}
