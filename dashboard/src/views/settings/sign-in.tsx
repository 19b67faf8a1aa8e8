"use client";

import { create } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { zodResolver } from "@hookform/resolvers/zod";
import { useState } from "react";
import { Controller, useForm } from "react-hook-form";
import { z } from "zod/mini";
import { toForm } from "@/api/forms";
import type { ProjectSettings } from "@/gen/supalove/v1/project_pb";
import { Field, FormError, FormSection, Input, Switch, TextArea } from "@/ui";
import { messages as say } from "./messages";
import { SaveCard } from "./save-card";
import { useSave } from "./use-save";
import { lines } from "./values";

const addresses = z.object({
  siteUrl: z.string().check(z.trim(), z.regex(/^$|^https?:\/\/\S+$/, "Begins with http:// or https://.")),
  redirectUrls: z.string().check(z.refine((text) => lines(text).length <= 50, "At most 50 addresses.")),
});
const access = z.object({
  signUpEnabled: z.boolean(),
  jwtLifetime: z.coerce
    .number()
    .check(z.int("A whole number."), z.minimum(30, "At least 30."), z.maximum(604_800, "At most 604,800.")),
});

export function SignInSection({ projectRef, settings }: { projectRef: string; settings: ProjectSettings }) {
  return (
    <>
      <FormSection title={say.urls} description={say.urlsWhat}>
        <Addresses projectRef={projectRef} settings={settings} />
      </FormSection>
      <FormSection title={say.access} description={say.accessWhat}>
        <Access projectRef={projectRef} settings={settings} />
      </FormSection>
    </>
  );
}

function Addresses({ projectRef, settings }: { projectRef: string; settings: ProjectSettings }) {
  const save = useSave(projectRef, settings.etag);
  const [problem, setProblem] = useState("");
  const form = useForm({
    resolver: zodResolver(addresses),
    mode: "onTouched",
    values: { siteUrl: settings.siteUrl, redirectUrls: settings.redirectUrls.join("\n") },
  });
  const { errors, isSubmitting, isDirty } = form.formState;
  const submit = form.handleSubmit(async ({ siteUrl, redirectUrls }) => {
    setProblem("");
    await save({ siteUrl, redirectUrls: lines(redirectUrls) }).catch((error) => setProblem(toForm(form, error, FIELDS)));
  });
  return (
    <SaveCard onSubmit={submit} dirty={isDirty} busy={isSubmitting}>
      <FormError>{problem}</FormError>
      <Field label={say.siteUrl} hint={say.siteUrlHint} error={errors.siteUrl?.message}>
        <Input type="url" autoComplete="off" {...form.register("siteUrl")} />
      </Field>
      <Field label={say.redirects} hint={say.redirectsHint} error={errors.redirectUrls?.message}>
        <TextArea spellCheck={false} {...form.register("redirectUrls")} />
      </Field>
    </SaveCard>
  );
}

function Access({ projectRef, settings }: { projectRef: string; settings: ProjectSettings }) {
  const save = useSave(projectRef, settings.etag);
  const [problem, setProblem] = useState("");
  const form = useForm({
    resolver: zodResolver(access),
    mode: "onTouched",
    values: { signUpEnabled: settings.signUpEnabled, jwtLifetime: String(settings.jwtLifetime?.seconds ?? "") as unknown },
  });
  const { errors, isSubmitting, isDirty, dirtyFields } = form.formState;
  const submit = form.handleSubmit(async ({ signUpEnabled, jwtLifetime }) => {
    setProblem("");
    // The lifetime restarts the database: only if it is another one.
    const lifetime = dirtyFields.jwtLifetime && { jwtLifetime: create(DurationSchema, { seconds: BigInt(jwtLifetime) }) };
    await save({ signUpEnabled, ...lifetime }).catch((error) => setProblem(toForm(form, error, FIELDS)));
  });
  return (
    <SaveCard onSubmit={submit} dirty={isDirty} busy={isSubmitting}>
      <FormError>{problem}</FormError>
      <Controller
        control={form.control}
        name="signUpEnabled"
        render={({ field }) => (
          <Switch label={say.signUp} hint={say.signUpHint} checked={field.value} onChange={field.onChange} />
        )}
      />
      <Field label={say.lifetime} hint={say.lifetimeHint} error={errors.jwtLifetime?.message}>
        <Input inputMode="numeric" autoComplete="off" {...form.register("jwtLifetime")} />
      </Field>
    </SaveCard>
  );
}

const FIELDS = {
  "settings.siteUrl": "siteUrl",
  "settings.redirectUrls": "redirectUrls",
  "settings.signUpEnabled": "signUpEnabled",
  "settings.jwtLifetime": "jwtLifetime",
};
