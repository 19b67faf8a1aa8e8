"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useRouter } from "next/navigation";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { signedOutAuth } from "@/api/clients";
import { toForm } from "@/api/forms";
import { adopt } from "@/api/session";
import { RefreshTokenDelivery, SignUpPolicy } from "@/gen/supalove/v1/auth_pb";
import { useLinkToken } from "@/lib/link-token";
import { displayName, email, newPassword } from "@/lib/rules";
import { Plain, PlainForm, PlainHead } from "@/shell/plain";
import { EmailField, NameField, NewPasswordField, Small } from "@/shell/plain-parts";
import { useSignUpPolicy } from "@/shell/use-sign-up-policy";
import { Button } from "@/ui/button";
import { FormError } from "@/ui/field";
import { TextLink } from "@/ui/link";
import { messages as say } from "./messages";

/** Without a link's token it asks for an address, with one for a password. */
export function SignUpPage() {
  const token = useLinkToken();
  const policy = useSignUpPolicy()?.policy;
  return (
    <Plain>
      {token ? (
        <Choose token={token} />
      ) : policy !== undefined && policy !== SignUpPolicy.OPEN ? (
        <Closed invitation={policy === SignUpPolicy.INVITATION} />
      ) : (
        <Ask />
      )}
    </Plain>
  );
}

function Closed({ invitation }: { invitation: boolean }) {
  return (
    <div className="grid gap-5">
      <PlainHead title={say.closedTitle}>{invitation ? say.byInvitation : say.closed}</PlainHead>
      <ToSignIn />
    </div>
  );
}

function ToSignIn() {
  return (
    <Small>
      {say.have} <TextLink href="/sign-in">{say.signIn}</TextLink>
    </Small>
  );
}

const askSchema = z.object({ email });

function Ask() {
  const [problem, setProblem] = useState("");
  const [sent, setSent] = useState("");
  const form = useForm({ resolver: zodResolver(askSchema), mode: "onTouched", defaultValues: { email: "" } });
  const { errors, isSubmitting } = form.formState;
  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    try {
      await signedOutAuth.startSignUp(values);
      setSent(values.email);
    } catch (error) {
      setProblem(toForm(form, error));
    }
  });
  if (sent) {
    return (
      <div className="grid gap-5" role="status">
        <PlainHead title={say.sentTitle}>{say.sent(sent)}</PlainHead>
        <Button size="large" onClick={() => setSent("")}>
          {say.again}
        </Button>
      </div>
    );
  }
  return (
    <PlainForm onSubmit={submit}>
      <PlainHead title={say.title}>{say.sub}</PlainHead>
      <FormError>{problem}</FormError>
      <EmailField register={form.register("email")} error={errors.email} />
      <Button type="submit" look="primary" size="large" busy={isSubmitting}>
        {say.send}
      </Button>
      <ToSignIn />
    </PlainForm>
  );
}

const chooseSchema = z.object({ displayName, password: newPassword });

function Choose({ token }: { token: string }) {
  const router = useRouter();
  const [problem, setProblem] = useState("");
  const form = useForm({
    resolver: zodResolver(chooseSchema),
    mode: "onTouched",
    defaultValues: { displayName: "", password: "" },
  });
  const { errors, isSubmitting } = form.formState;
  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    try {
      const refreshTokenDelivery = RefreshTokenDelivery.COOKIE;
      const { tokens } = await signedOutAuth.signUp({ ...values, token, refreshTokenDelivery });
      adopt(tokens);
      router.replace("/");
    } catch (error) {
      setProblem(toForm(form, error));
    }
  });
  return (
    <PlainForm onSubmit={submit}>
      <PlainHead title={say.chooseTitle}>{say.chooseSub}</PlainHead>
      <FormError>{problem}</FormError>
      <NameField register={form.register("displayName")} error={errors.displayName} />
      <NewPasswordField register={form.register("password")} error={errors.password} />
      <Button type="submit" look="primary" size="large" busy={isSubmitting}>
        {say.create}
      </Button>
    </PlainForm>
  );
}
