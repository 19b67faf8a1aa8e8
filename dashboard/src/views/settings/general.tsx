"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { projects } from "@/api/clients";
import { explain } from "@/api/errors";
import { toForm } from "@/api/forms";
import { keys } from "@/api/keys";
import { putProject } from "@/api/live/feed";
import { useAllowedSizes } from "@/api/queries/allowed-sizes";
import { useSizes } from "@/api/queries/plans";
import { uuid } from "@/api/uuid";
import type { Project } from "@/gen/supalove/v1/project_pb";
import { cores, mebibytes } from "@/lib/format";
import { list } from "@/lib/words";
import { Choice, Confirm, Field, FormError, FormSection, Input, toast } from "@/ui";
import { messages as say } from "./messages";
import { SaveCard } from "./save-card";

const schema = z.object({
  name: z.string().check(z.trim(), z.minLength(1, "Enter a name."), z.maxLength(80, "At most 80 characters.")),
});

export function GeneralSection({ project }: { project: Project }) {
  return (
    <>
      <FormSection title={say.name} description={say.nameWhat}>
        <Name project={project} />
      </FormSection>
      <FormSection title={say.size} description={say.sizeWhat}>
        <Size project={project} />
      </FormSection>
    </>
  );
}

function Name({ project }: { project: Project }) {
  const cache = useQueryClient();
  const [problem, setProblem] = useState("");
  const form = useForm({ resolver: zodResolver(schema), mode: "onTouched", values: { name: project.name } });
  const { errors, isSubmitting, isDirty } = form.formState;
  const submit = form.handleSubmit(async ({ name }) => {
    setProblem("");
    try {
      const { ref: projectRef, etag } = project;
      const answer = await projects.updateProject({
        projectRef,
        name,
        updateMask: { paths: ["name"] },
        etag,
        requestId: uuid(),
      });
      if (answer.project) putProject(cache, answer.project);
      toast(say.saved);
    } catch (error) {
      const { reason, message, remedy } = explain(error);
      if (reason === "ALREADY_EXISTS") form.setError("name", { message: `${message} ${remedy}` }, { shouldFocus: true });
      else setProblem(toForm(form, error));
    }
  });
  return (
    <SaveCard onSubmit={submit} dirty={isDirty} busy={isSubmitting}>
      <FormError>{problem}</FormError>
      <Field label={say.name} hideLabel error={errors.name?.message}>
        <Input autoComplete="off" maxLength={80} {...form.register("name")} />
      </Field>
    </SaveCard>
  );
}

function Size({ project }: { project: Project }) {
  const cache = useQueryClient();
  const sizes = useSizes().data ?? [];
  const allowed = useAllowedSizes(project.organization).data ?? [];
  const [chosen, setChosen] = useState<string>();
  const [asks, setAsks] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const size = chosen ?? project.size;
  const resize = async () => {
    setBusy(true);
    setProblem("");
    try {
      const { ref: projectRef } = project;
      const answer = await projects.updateProject({ projectRef, size, updateMask: { paths: ["size"] }, requestId: uuid() });
      if (answer.project) putProject(cache, answer.project);
      void cache.invalidateQueries({ queryKey: keys.operations(projectRef) });
      toast(say.savedRestarts(list(answer.restartedServices)));
    } catch (error) {
      const { message, remedy } = explain(error);
      setProblem(`${message} ${remedy}`);
    }
    setBusy(false);
    setAsks(false);
  };
  return (
    <>
      <SaveCard
        dirty={size !== project.size}
        busy={busy}
        action={size === project.size ? say.resizeIt : say.resize(size)}
        onSubmit={(event) => {
          event.preventDefault();
          setAsks(true);
        }}
      >
        <FormError>{problem}</FormError>
        <Choice
          legend={say.size}
          name="size"
          value={size}
          onChange={setChosen}
          options={sizes.map((one) => ({
            value: one.name,
            label: one.name,
            aside: `${mebibytes(one.memoryMib)} of memory`,
            hint: `${cores(one.cpuMillis)}, ${mebibytes(one.diskMib)} of disk, ${one.connections} connections`,
            disabled: one.name !== project.size && !allowed.includes(one.name),
          }))}
        />
      </SaveCard>
      <Confirm
        open={asks}
        onClose={() => setAsks(false)}
        title={`${say.resize(size)}: ${project.name}`}
        description={say.resizeWhat(project.name)}
        action={say.resize(size)}
        busy={busy}
        onConfirm={() => void resize()}
      />
    </>
  );
}
