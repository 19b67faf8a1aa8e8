"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { auth } from "@/api/clients";
import { toForm } from "@/api/forms";
import { keys } from "@/api/keys";
import { usePolicy } from "@/api/queries/account";
import { leave } from "@/api/session";
import type { User } from "@/gen/supalove/v1/auth_pb";
import { email, password } from "@/lib/rules";
import { useUnsaved } from "@/lib/unsaved";
import { Button, Dialog, Field, FormCard, FormError, Input, Notice, PasswordInput, toast } from "@/ui";
import { messages as say } from "./messages";

export function Profile({ user }: { user: User }) {
  return (
    <>
      <Name user={user} />
      <Email user={user} />
      <DeleteAccount />
    </>
  );
}

const nameSchema = z.object({ displayName: z.string().check(z.trim(), z.minLength(1, "Enter a name."), z.maxLength(80)) });

function Name({ user }: { user: User }) {
  const cache = useQueryClient();
  const [problem, setProblem] = useState("");
  const form = useForm({
    resolver: zodResolver(nameSchema),
    mode: "onTouched",
    values: { displayName: user.displayName },
  });
  const { errors, isSubmitting, isDirty } = form.formState;
  useUnsaved(isDirty);
  const submit = form.handleSubmit(async ({ displayName }) => {
    setProblem("");
    try {
      const answer = await auth.updateMe({ displayName });
      cache.setQueryData(keys.me, answer.user);
      toast(say.saved);
    } catch (error) {
      setProblem(toForm(form, error));
    }
  });
  return (
    <form onSubmit={submit} noValidate>
      <FormCard
        title={say.name}
        description={say.nameWhat}
        action={
          <Button type="submit" look={isDirty ? "primary" : "secondary"} busy={isSubmitting}>
            {say.save}
          </Button>
        }
      >
        <FormError>{problem}</FormError>
        <Field label={say.name} hideLabel error={errors.displayName?.message}>
          <Input autoComplete="name" maxLength={80} {...form.register("displayName")} />
        </Field>
      </FormCard>
    </form>
  );
}

const emailSchema = z.object({ newEmail: email, currentPassword: password });

function Email({ user }: { user: User }) {
  const policy = usePolicy().data;
  const [problem, setProblem] = useState("");
  const [sent, setSent] = useState("");
  const form = useForm({
    resolver: zodResolver(emailSchema),
    mode: "onTouched",
    defaultValues: { newEmail: "", currentPassword: "" },
  });
  const { errors, isSubmitting } = form.formState;
  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    try {
      await auth.requestEmailChange(values);
      setSent(values.newEmail);
      form.reset();
    } catch (error) {
      setProblem(toForm(form, error));
    }
  });
  if (policy && !policy.mail) {
    return <FormCard title={say.email} description={`${say.emailNow(user.email)} ${say.noMail}`} />;
  }
  return (
    <form onSubmit={submit} noValidate className="mt-5">
      <FormCard
        title={say.email}
        description={say.emailNow(user.email)}
        action={
          <Button type="submit" busy={isSubmitting}>
            {say.emailSend}
          </Button>
        }
      >
        <FormError>{problem}</FormError>
        {sent && <Notice>{say.emailSent(sent)}</Notice>}
        <Field label={say.emailNew} error={errors.newEmail?.message}>
          <Input type="email" autoComplete="email" {...form.register("newEmail")} />
        </Field>
        <Field label={say.currentPassword} error={errors.currentPassword?.message}>
          <PasswordInput autoComplete="current-password" {...form.register("currentPassword")} />
        </Field>
      </FormCard>
    </form>
  );
}

const deleteSchema = z.object({ currentPassword: password });

function DeleteAccount() {
  const [open, setOpen] = useState(false);
  const [problem, setProblem] = useState("");
  const form = useForm({ resolver: zodResolver(deleteSchema), defaultValues: { currentPassword: "" } });
  const { errors, isSubmitting } = form.formState;
  const close = () => {
    setOpen(false);
    setProblem("");
    form.reset();
  };
  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    try {
      await auth.deleteAccount(values);
      leave();
    } catch (error) {
      setProblem(toForm(form, error));
    }
  });
  return (
    <>
      <FormCard
        title={say.delete}
        description={say.deleteWhat}
        action={<Button onClick={() => setOpen(true)}>{say.delete}</Button>}
      />
      <Dialog
        open={open}
        onClose={close}
        title={say.delete}
        description={say.deleteAsk}
        footer={
          <>
            <Button onClick={close}>Cancel</Button>
            <Button look="danger" busy={isSubmitting} onClick={() => void submit()}>
              {say.delete}
            </Button>
          </>
        }
      >
        <form onSubmit={submit} noValidate className="grid gap-4">
          <FormError>{problem}</FormError>
          <Field label={say.currentPassword} error={errors.currentPassword?.message}>
            <PasswordInput autoComplete="current-password" {...form.register("currentPassword")} />
          </Field>
        </form>
      </Dialog>
    </>
  );
}
