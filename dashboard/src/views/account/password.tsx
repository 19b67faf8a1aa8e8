"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { auth } from "@/api/clients";
import { toForm } from "@/api/forms";
import { keys } from "@/api/keys";
import { newPassword, password } from "@/lib/rules";
import { Button, Field, FormCard, FormError, Notice, PasswordInput } from "@/ui";
import { messages as say } from "./messages";

const schema = z.object({ currentPassword: password, newPassword });

export function Password({ email }: { email: string }) {
  const cache = useQueryClient();
  const [problem, setProblem] = useState("");
  const [done, setDone] = useState("");
  const form = useForm({
    resolver: zodResolver(schema),
    mode: "onTouched",
    defaultValues: { currentPassword: "", newPassword: "" },
  });
  const { errors, isSubmitting } = form.formState;
  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    setDone("");
    try {
      const answer = await auth.changePassword(values);
      form.reset();
      setDone(say.changed(answer.sessionsEnded, answer.personalAccessTokensLeft));
      void cache.invalidateQueries({ queryKey: keys.sessions });
    } catch (error) {
      setProblem(toForm(form, error));
    }
  });
  return (
    <form onSubmit={submit} noValidate>
      <FormCard
        title={say.passwordTitle}
        description={say.passwordWhat}
        action={
          <Button type="submit" look="primary" busy={isSubmitting}>
            {say.change}
          </Button>
        }
      >
        <FormError>{problem}</FormError>
        {done && (
          <div role="status">
            <Notice>{done}</Notice>
          </div>
        )}
        {/* For password managers: whose password it is. */}
        <input type="text" name="username" autoComplete="username" value={email} readOnly hidden />
        <Field label={say.currentPassword} error={errors.currentPassword?.message}>
          <PasswordInput autoComplete="current-password" {...form.register("currentPassword")} />
        </Field>
        <Field label={say.newPassword} hint={say.passwordHint} error={errors.newPassword?.message}>
          <PasswordInput autoComplete="new-password" {...form.register("newPassword")} />
        </Field>
      </FormCard>
    </form>
  );
}
