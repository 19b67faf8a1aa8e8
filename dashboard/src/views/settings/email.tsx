"use client";

import { create } from "@bufbuild/protobuf";
import { zodResolver } from "@hookform/resolvers/zod";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { explain, told } from "@/api/errors";
import { toForm } from "@/api/forms";
import { type ProjectSettings, ProjectSmtpSchema } from "@/gen/supalove/v1/project_pb";
import { email } from "@/lib/rules";
import { Button, Confirm, Field, FormError, FormSection, Input, PasswordInput } from "@/ui";
import { messages as say } from "./messages";
import { SaveCard } from "./save-card";
import { useSave } from "./use-save";

const schema = z.object({
  host: z.string().check(z.trim(), z.minLength(1, "Enter the server's host.")),
  port: z.coerce.number().check(z.int("A whole number."), z.minimum(1, "At least 1."), z.maximum(65_535, "At most 65,535.")),
  user: z.string(),
  password: z.string(),
  senderEmail: email,
  senderName: z.string().check(z.trim()),
});

export function EmailSection({ projectRef, name, settings }: { projectRef: string; name: string; settings: ProjectSettings }) {
  const save = useSave(projectRef, settings.etag);
  const [problem, setProblem] = useState("");
  const [asks, setAsks] = useState(false);
  const [removing, setRemoving] = useState(false);
  const { smtp } = settings;
  const form = useForm({
    resolver: zodResolver(schema),
    mode: "onTouched",
    values: {
      host: smtp?.host ?? "",
      port: String(smtp?.port || 587) as unknown,
      user: smtp?.user ?? "",
      password: "",
      senderEmail: smtp?.senderEmail ?? "",
      senderName: smtp?.senderName ?? "",
    },
  });
  const { errors, isSubmitting, isDirty } = form.formState;
  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    await save({ smtp: create(ProjectSmtpSchema, values) }).catch((error) => setProblem(toForm(form, error, FIELDS)));
  });
  const remove = async () => {
    setRemoving(true);
    await save({ smtp: undefined }).catch((error) => setProblem(told(explain(error))));
    setRemoving(false);
    setAsks(false);
  };
  const remover = smtp && <Button onClick={() => setAsks(true)}>{say.noMail}</Button>;
  return (
    <FormSection title={say.smtp} description={say.smtpWhat}>
      <SaveCard onSubmit={submit} dirty={isDirty} busy={isSubmitting} aside={remover}>
        <FormError>{problem}</FormError>
        <div className="grid gap-5 md:grid-cols-[minmax(0,1fr)_7rem]">
          <Field label={say.host} error={errors.host?.message}>
            <Input autoComplete="off" spellCheck={false} {...form.register("host")} />
          </Field>
          <Field label={say.port} error={errors.port?.message}>
            <Input inputMode="numeric" autoComplete="off" {...form.register("port")} />
          </Field>
        </div>
        <Field label={say.user} hint={say.userHint} error={errors.user?.message}>
          <Input autoComplete="off" spellCheck={false} {...form.register("user")} />
        </Field>
        <Field label={say.password} hint={smtp?.passwordSet && say.passwordSet} error={errors.password?.message}>
          <PasswordInput autoComplete="new-password" {...form.register("password")} />
        </Field>
        <div className="grid gap-5 md:grid-cols-2">
          <Field label={say.sender} error={errors.senderEmail?.message}>
            <Input type="email" autoComplete="off" {...form.register("senderEmail")} />
          </Field>
          <Field label={say.senderName} error={errors.senderName?.message}>
            <Input autoComplete="off" {...form.register("senderName")} />
          </Field>
        </div>
      </SaveCard>
      <Confirm
        open={asks}
        onClose={() => setAsks(false)}
        title={say.noMail}
        description={say.noMailWhat(name)}
        action={say.noMail}
        danger
        busy={removing}
        onConfirm={() => void remove()}
      />
    </FormSection>
  );
}

const FIELDS = {
  "settings.smtp.host": "host",
  "settings.smtp.port": "port",
  "settings.smtp.user": "user",
  "settings.smtp.password": "password",
  "settings.smtp.senderEmail": "senderEmail",
  "settings.smtp.senderName": "senderName",
};
