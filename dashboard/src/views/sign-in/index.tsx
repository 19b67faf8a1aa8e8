"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useRouter } from "next/navigation";
import { useEffect, useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { signedOutAuth } from "@/api/clients";
import { toForm } from "@/api/forms";
import { adopt, startSession } from "@/api/session";
import { RefreshTokenDelivery, SignUpPolicy } from "@/gen/supalove/v1/auth_pb";
import { safeNext } from "@/lib/routes";
import { email, password } from "@/lib/rules";
import { Plain, PlainForm, PlainHead } from "@/shell/plain";
import { useMounted, useSession } from "@/shell/use-session";
import { useSignUpPolicy } from "@/shell/use-sign-up-policy";
import { Button } from "@/ui/button";
import { Field, FormError, Input, PasswordInput } from "@/ui/field";
import { TextLink } from "@/ui/link";
import { messages as say } from "./messages";

const schema = z.object({ email, password });

export function SignInPage() {
  const router = useRouter();
  const session = useSession();
  const mounted = useMounted();
  const [problem, setProblem] = useState("");
  const form = useForm({
    resolver: zodResolver(schema),
    mode: "onTouched",
    defaultValues: { email: "", password: "" },
  });
  const { errors, isSubmitting } = form.formState;
  const policy = useSignUpPolicy();

  useEffect(() => {
    // Whoever is signed in already goes on; without an answer the form says so when it is sent.
    startSession().catch(() => {});
  }, []);
  useEffect(() => {
    if (session === "in") router.replace(safeNext(new URLSearchParams(location.search).get("next")));
  }, [session, router]);

  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    try {
      const { tokens } = await signedOutAuth.signIn({ ...values, refreshTokenDelivery: RefreshTokenDelivery.COOKIE });
      adopt(tokens);
    } catch (error) {
      setProblem(toForm(form, error));
      form.setFocus("password", { shouldSelect: true });
    }
  });
  return (
    <Plain>
      <PlainForm onSubmit={submit}>
        <PlainHead title={say.title}>{mounted && `to ${location.host}`}&nbsp;</PlainHead>
        <FormError>{problem}</FormError>
        <Field label={say.email} error={errors.email?.message}>
          <Input large type="email" autoComplete="username" {...form.register("email")} />
        </Field>
        <Field
          label={say.password}
          error={errors.password?.message}
          aside={
            policy?.mail && (
              <TextLink href="/reset-password" className="text-13">
                {say.forgot}
              </TextLink>
            )
          }
        >
          <PasswordInput large autoComplete="current-password" {...form.register("password")} />
        </Field>
        <Button type="submit" look="primary" size="large" busy={isSubmitting || session === "in"}>
          {say.submit}
        </Button>
        <p className="min-h-5 text-13 text-ink-3">
          {policy?.policy === SignUpPolicy.OPEN && (
            <>
              {say.noAccount} <TextLink href="/sign-up">{say.signUp}</TextLink>
            </>
          )}
          {policy?.policy === SignUpPolicy.INVITATION && say.byInvitation}
        </p>
      </PlainForm>
    </Plain>
  );
}
