"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useState } from "react";
import { useForm } from "react-hook-form";
import { z } from "zod/mini";
import { toForm } from "@/api/forms";
import { useCreateCluster } from "@/api/mutations/nodes";
import { Button, Dialog, Field, FormError, Input, toast } from "@/ui";
import { messages as say } from "./messages";

const schema = z.object({
  name: z.string().check(z.trim(), z.regex(/^[a-z][a-z0-9-]{1,39}$/, say.nameWrong)),
  region: z.string().check(z.trim(), z.maxLength(80, "At most 80 characters.")),
});

/** `organization`: the owner of a private one; empty for a shared one. */
export function NewCluster({
  organization,
  onClose,
  onCreated,
}: {
  organization: string;
  onClose: () => void;
  onCreated: (name: string) => void;
}) {
  const create = useCreateCluster();
  const [problem, setProblem] = useState("");
  const form = useForm({ resolver: zodResolver(schema), mode: "onTouched", defaultValues: { name: "", region: "" } });
  const { errors, isDirty } = form.formState;
  const submit = form.handleSubmit(async (values) => {
    setProblem("");
    try {
      await create.mutateAsync({ ...values, organization });
      toast(say.created(values.name));
      onCreated(values.name);
    } catch (error) {
      setProblem(toForm(form, error));
    }
  });
  return (
    <Dialog
      open
      onClose={onClose}
      dirty={isDirty && !create.isPending}
      title={say.create}
      description={organization ? say.createPrivateWhat : say.createWhat}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" busy={create.isPending} onClick={() => void submit()}>
            Create cluster
          </Button>
        </>
      }
    >
      <form onSubmit={submit} noValidate className="flex flex-col gap-5">
        <FormError>{problem}</FormError>
        <Field label={say.name} hint={say.nameHint} error={errors.name?.message}>
          <Input autoComplete="off" autoCapitalize="off" spellCheck={false} {...form.register("name")} />
        </Field>
        <Field label={say.region} hint={say.regionHint} error={errors.region?.message}>
          <Input autoComplete="off" {...form.register("region")} />
        </Field>
        <button type="submit" hidden />
      </form>
    </Dialog>
  );
}
