"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { toForm } from "@/api/forms";
import type { ProjectSettings } from "@/gen/supalove/v1/project_pb";
import { Field, FormError, FormSection, Input } from "@/ui";
import { messages as say } from "./messages";
import { SaveCard } from "./save-card";
import { useSave } from "./use-save";
import { commas, fromMegabytes, toMegabytes } from "./values";

const rest = z.object({
  exposedSchemas: z.string().check(z.refine((text) => commas(text).length > 0, "Name at least one schema.")),
  maxRows: z.coerce
    .number()
    .check(z.int("A whole number."), z.minimum(1, "At least 1."), z.maximum(1_000_000, "At most 1,000,000.")),
});
const files = z.object({
  fileSizeLimitBytes: z.coerce.number().check(z.positive("More than 0."), z.maximum(51_200, "At most 51,200 MB.")),
});

export function ApiSection({ projectRef, settings }: { projectRef: string; settings: ProjectSettings }) {
  return (
    <>
      <FormSection title={say.rest} description={say.restWhat}>
        <Rest projectRef={projectRef} settings={settings} />
      </FormSection>
      <FormSection title={say.files} description={say.filesWhat}>
        <Files projectRef={projectRef} settings={settings} />
      </FormSection>
    </>
  );
}

function Rest({ projectRef, settings }: { projectRef: string; settings: ProjectSettings }) {
  const save = useSave(projectRef, settings.etag);
  const [problem, setProblem] = useState("");
  const form = useForm({
    resolver: zodResolver(rest),
    mode: "onTouched",
    values: { exposedSchemas: settings.exposedSchemas.join(", "), maxRows: settings.maxRows as unknown },
  });
  const { errors, isSubmitting, isDirty } = form.formState;
  const submit = form.handleSubmit(async ({ exposedSchemas, maxRows }) => {
    setProblem("");
    await save({ exposedSchemas: commas(exposedSchemas), maxRows }).catch((error) => setProblem(toForm(form, error, FIELDS)));
  });
  return (
    <SaveCard onSubmit={submit} dirty={isDirty} busy={isSubmitting}>
      <FormError>{problem}</FormError>
      <Field label={say.schemas} hint={say.schemasHint} error={errors.exposedSchemas?.message}>
        <Input autoComplete="off" spellCheck={false} {...form.register("exposedSchemas")} />
      </Field>
      <Field label={say.maxRows} error={errors.maxRows?.message}>
        <Input inputMode="numeric" autoComplete="off" {...form.register("maxRows")} />
      </Field>
    </SaveCard>
  );
}

function Files({ projectRef, settings }: { projectRef: string; settings: ProjectSettings }) {
  const save = useSave(projectRef, settings.etag);
  const [problem, setProblem] = useState("");
  const form = useForm({
    resolver: zodResolver(files),
    mode: "onTouched",
    values: { fileSizeLimitBytes: toMegabytes(settings.fileSizeLimitBytes) as unknown },
  });
  const { errors, isSubmitting, isDirty } = form.formState;
  const submit = form.handleSubmit(async ({ fileSizeLimitBytes }) => {
    setProblem("");
    const changes = { fileSizeLimitBytes: fromMegabytes(fileSizeLimitBytes) };
    await save(changes).catch((error) => setProblem(toForm(form, error, FIELDS)));
  });
  return (
    <SaveCard onSubmit={submit} dirty={isDirty} busy={isSubmitting}>
      <FormError>{problem}</FormError>
      <Field label={say.fileLimit} error={errors.fileSizeLimitBytes?.message}>
        <Input inputMode="decimal" autoComplete="off" {...form.register("fileSizeLimitBytes")} />
      </Field>
    </SaveCard>
  );
}

/** The server names fields with the path of the request. */
const FIELDS = {
  "settings.exposedSchemas": "exposedSchemas",
  "settings.maxRows": "maxRows",
  "settings.fileSizeLimitBytes": "fileSizeLimitBytes",
};
