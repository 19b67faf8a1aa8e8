"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useRouter } from "next/navigation";
import { useEffect, useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { signedOutAuth } from "@/api/clients";
import { toForm } from "@/api/forms";
import { adopt } from "@/api/session";
import { RefreshTokenDelivery } from "@/gen/supalove/v1/auth_pb";
import { useLinkToken } from "@/lib/link-token";
import { displayName, email, newPassword } from "@/lib/rules";
import { Plain, PlainForm, PlainHead } from "@/shell/plain";
import { Button } from "@/ui/button";
import { Field, FormError, Input, PasswordInput } from "@/ui/field";
import { TextLink } from "@/ui/link";
import { messages as say } from "./messages";

const schema = z.object({
  setupToken: z.string().check(z.trim(), z.minLength(1, "Enter the setup token.")),
  displayName,
  email,
  password: newPassword,
});

export function SetUpPage() {
  const router = useRouter();
  const token = useLinkToken();
  const [problem, setProblem] = useState("");
  const form = useForm({
    resolver: zodResolver(schema),
    mode: "onTouched",
    defaultValues: { setupToken: "", displayName: "", email: "", password: "" },
  });
  const { errors, isSubmitting } = form.formState;
  useEffect(() => {
    if (token) form.setValue("setupToken", token);
  }, [token, form]);

  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    try {
      await signedOutAuth.setUp(values);
      // The set-up gives its refresh token to the page; a sign-in gives it to the cookie, which no script reads.
      const { email, password } = values;
      const { tokens } = await signedOutAuth.signIn({ email, password, refreshTokenDelivery: RefreshTokenDelivery.COOKIE });
      adopt(tokens);
      router.replace("/");
    } catch (error) {
      setProblem(toForm(form, error));
    }
  });
  return (
    <Plain>
      <PlainForm onSubmit={submit}>
        <PlainHead title={say.title}>{say.sub}</PlainHead>
        <FormError>{problem}</FormError>
        {!token && (
          <Field label={say.token} hint={say.tokenHint} error={errors.setupToken?.message}>
            <Input large autoComplete="off" spellCheck={false} {...form.register("setupToken")} />
          </Field>
        )}
        <Field label={say.name} error={errors.displayName?.message}>
          <Input large autoComplete="name" maxLength={80} {...form.register("displayName")} />
        </Field>
        <Field label={say.email} error={errors.email?.message}>
          <Input large type="email" autoComplete="username" {...form.register("email")} />
        </Field>
        <Field label={say.password} hint={say.passwordHint} error={errors.password?.message}>
          <PasswordInput large autoComplete="new-password" {...form.register("password")} />
        </Field>
        <Button type="submit" look="primary" size="large" busy={isSubmitting}>
          {say.submit}
        </Button>
        <p className="text-13 text-ink-3">
          {say.done} <TextLink href="/sign-in">{say.signIn}</TextLink>
        </p>
      </PlainForm>
    </Plain>
  );
}
