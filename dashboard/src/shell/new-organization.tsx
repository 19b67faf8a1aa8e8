"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { type FormEvent, useRef, useState } from "react";
import { organizations } from "@/api/clients";
import { explain, type Problem, told } from "@/api/errors";
import { keys } from "@/api/keys";
import { uuid } from "@/api/uuid";
import { paths } from "@/lib/routes";
import { Button, Dialog, Field, FormError, Input, toast } from "@/ui";

export function NewOrganization({ onClose }: { onClose: () => void }) {
  const form = useNewOrganization(onClose);
  return (
    <Dialog
      open
      onClose={onClose}
      title="New organization"
      description="It owns projects, and has members of its own. You become its owner."
      dirty={form.name !== ""}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" busy={form.busy} onClick={form.submit}>
            Create organization
          </Button>
        </>
      }
    >
      <form onSubmit={form.submit} noValidate>
        <NameField {...form} />
      </form>
    </Dialog>
  );
}

/** The name of a new organization and what became of it; also on the page of who has none. */
export function useNewOrganization(onDone: () => void) {
  const router = useRouter();
  const cache = useQueryClient();
  const [name, setName] = useState("");
  const [problem, setProblem] = useState<Problem>();
  // A repetition with it creates nothing twice.
  const requestId = useRef(uuid());
  const create = useMutation({
    mutationFn: () => organizations.createOrganization({ name: name.trim(), requestId: requestId.current }),
    onSuccess: async ({ organization }) => {
      requestId.current = uuid();
      await cache.invalidateQueries({ queryKey: keys.organizations });
      onDone();
      setName("");
      toast(`${organization?.name} is created`);
      if (organization) router.push(paths.projects(organization.slug));
    },
    onError: (error) => setProblem(explain(error)),
  });
  const submit = (event?: FormEvent | { preventDefault(): void }) => {
    event?.preventDefault();
    setProblem(undefined);
    if (!name.trim()) document.getElementById("organization-name")?.focus();
    else if (!create.isPending) create.mutate();
  };
  return { name, setName, problem, busy: create.isPending, submit };
}

export function NameField({
  name,
  setName,
  problem,
}: Pick<ReturnType<typeof useNewOrganization>, "name" | "setName" | "problem">) {
  const own = problem?.fields.find(({ field }) => field === "name" || field === "slug");
  return (
    <div className="flex flex-col gap-4">
      <Field label="Name" hint="As your members know it. You can change it later." error={own?.message}>
        <Input value={name} maxLength={80} autoComplete="organization" onChange={(event) => setName(event.target.value)} />
      </Field>
      <FormError>{problem && !own && told(problem)}</FormError>
    </div>
  );
}
