"use client";

import { useEffect, useState } from "react";
import { auth } from "@/api/clients";
import { explain, told } from "@/api/errors";
import { startSession } from "@/api/session";
import { useLinkToken } from "@/lib/link-token";
import { paths } from "@/lib/routes";
import { Plain, PlainHead } from "@/shell/plain";
import { useSession } from "@/shell/use-session";
import { Button, LinkButton } from "@/ui/button";
import { FormError } from "@/ui/field";
import { messages as say } from "./messages";

/** Where the link to a new address leads. It asks before it acts, since programs that look through mails open links, too. */
export function ConfirmEmailPage() {
  const token = useLinkToken();
  const session = useSession();
  const [email, setEmail] = useState("");
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    startSession().catch((error) => setProblem(told(explain(error))));
  }, []);

  const confirm = async () => {
    setBusy(true);
    setProblem("");
    try {
      setEmail((await auth.confirmEmailChange({ token })).email);
    } catch (error) {
      setProblem(told(explain(error)));
    } finally {
      setBusy(false);
    }
  };
  if (email) {
    return (
      <Plain>
        <div className="grid gap-5" role="status">
          <PlainHead title={say.doneTitle}>{say.done(email)}</PlainHead>
          <LinkButton href="/" look="primary" size="large">
            {say.go}
          </LinkButton>
        </div>
      </Plain>
    );
  }
  const out = session === "out" || session === "lost";
  return (
    <Plain>
      <div className="grid gap-5">
        <PlainHead title={say.title}>{token === "" ? say.noToken : out ? say.signInFirst : say.ask}</PlainHead>
        <FormError>{problem}</FormError>
        {token && out && (
          <LinkButton href={paths.signIn("/confirm-email")} look="primary" size="large">
            {say.signIn}
          </LinkButton>
        )}
        {token && session === "in" && (
          <Button look="primary" size="large" busy={busy} onClick={() => void confirm()}>
            {say.confirm}
          </Button>
        )}
      </div>
    </Plain>
  );
}
