"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useRouter } from "next/navigation";
import { useEffect, useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { invitations, signedOutAuth, signedOutInvitations } from "@/api/clients";
import { explain, told } from "@/api/errors";
import { toForm } from "@/api/forms";
import { adopt, startSession } from "@/api/session";
import { RefreshTokenDelivery } from "@/gen/supalove/v1/auth_pb";
import type { GetInvitationResponse } from "@/gen/supalove/v1/invitation_pb";
import { useLinkToken } from "@/lib/link-token";
import { paths } from "@/lib/routes";
import { displayName, newPassword } from "@/lib/rules";
import { Plain, PlainForm, PlainHead } from "@/shell/plain";
import { NameField, NewPasswordField, Small } from "@/shell/plain-parts";
import { useSession } from "@/shell/use-session";
import { Button } from "@/ui/button";
import { FormError } from "@/ui/field";
import { TextLink } from "@/ui/link";
import { messages as say } from "./messages";

/** Says who invites whom to what before anything is asked. */
export function InvitationPage() {
  const token = useLinkToken();
  const session = useSession();
  const [invitation, setInvitation] = useState<GetInvitationResponse>();
  const [problem, setProblem] = useState("");
  useEffect(() => {
    startSession().catch(() => {});
  }, []);
  useEffect(() => {
    if (!token) return;
    signedOutInvitations
      .getInvitation({ token })
      .then(setInvitation)
      .catch((error) => setProblem(told(explain(error))));
  }, [token]);

  if (!token || !invitation) {
    return (
      <Plain>
        <div className="grid gap-5" aria-busy={(token !== "" && !problem) || undefined}>
          <PlainHead title={say.waiting}>{token === "" && say.noToken}</PlainHead>
          <FormError>{problem}</FormError>
        </div>
      </Plain>
    );
  }
  const { organizationName, email, role, invitedByName } = invitation;
  return (
    <Plain>
      <div className="grid gap-5">
        <PlainHead title={say.title(organizationName)}>
          {say.what(invitedByName, email, say.roles[role] ?? say.roles[0]!)}
        </PlainHead>
        {session === "in" ? <Accept token={token} /> : <Join token={token} />}
      </div>
    </Plain>
  );
}

/** For who is signed in. */
function Accept({ token }: { token: string }) {
  const router = useRouter();
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const accept = async () => {
    setBusy(true);
    setProblem("");
    try {
      const { organization } = await invitations.acceptInvitation({ token });
      router.replace(organization ? paths.projects(organization.slug) : "/");
    } catch (error) {
      setProblem(told(explain(error)));
      setBusy(false);
    }
  };
  return (
    <>
      <FormError>{problem}</FormError>
      <Button look="primary" size="large" busy={busy} onClick={() => void accept()}>
        {say.accept}
      </Button>
    </>
  );
}

const schema = z.object({ displayName, password: newPassword });

/** For who has no account yet. */
function Join({ token }: { token: string }) {
  const router = useRouter();
  const [problem, setProblem] = useState("");
  const form = useForm({ resolver: zodResolver(schema), mode: "onTouched", defaultValues: { displayName: "", password: "" } });
  const { errors, isSubmitting } = form.formState;
  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    try {
      const refreshTokenDelivery = RefreshTokenDelivery.COOKIE;
      const { tokens } = await signedOutAuth.signUp({ ...values, token, refreshTokenDelivery });
      router.replace("/");
      adopt(tokens);
    } catch (error) {
      setProblem(toForm(form, error));
    }
  });
  return (
    <PlainForm onSubmit={submit}>
      <p className="text-14 text-ink-2">{say.newHere}</p>
      <FormError>{problem}</FormError>
      <NameField register={form.register("displayName")} error={errors.displayName} />
      <NewPasswordField register={form.register("password")} error={errors.password} />
      <Button type="submit" look="primary" size="large" busy={isSubmitting}>
        {say.create}
      </Button>
      <Small>
        {say.have} <TextLink href={paths.signIn("/invitation")}>{say.signIn}</TextLink>
      </Small>
    </PlainForm>
  );
}
