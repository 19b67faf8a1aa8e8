"use client";

import { useQueryClient } from "@tanstack/react-query";
import { Plus, Trash2 } from "lucide-react";
import { type FormEvent, useState } from "react";
import { projects } from "@/api/clients";
import { explain, type Problem, told } from "@/api/errors";
import { keys } from "@/api/keys";
import { useSecrets, useVariables } from "@/api/queries/settings";
import { uuid } from "@/api/uuid";
import { millis } from "@/lib/time";
import {
  Button,
  Card,
  Confirm,
  CopyButton,
  Dialog,
  Field,
  FormError,
  FormSection,
  IconButton,
  Input,
  Loaded,
  PasswordInput,
  RelativeTime,
  Skeleton,
  toast,
} from "@/ui";
import { messages as say } from "./messages";
import { VARIABLE } from "./values";

type Kind = "secret" | "variable";

interface Entry {
  name: string;
  /** The digest of a secret, the value of a variable. */
  shown: string;
  time: number | undefined;
}

export function EnvironmentSection({ projectRef }: { projectRef: string }) {
  const secrets = useSecrets(projectRef);
  const variables = useVariables(projectRef);
  return (
    <>
      <FormSection title={say.secrets} description={say.secretsWhat}>
        <Loaded query={secrets} failed={say.failed} skeleton={<Skeleton className="h-24" />}>
          {(list) => (
            <Entries
              kind="secret"
              projectRef={projectRef}
              entries={list.map(({ name, sha256, updateTime }) => ({ name, shown: sha256, time: millis(updateTime) }))}
            />
          )}
        </Loaded>
      </FormSection>
      <FormSection title={say.variables} description={say.variablesWhat}>
        <Loaded query={variables} failed={say.failed} skeleton={<Skeleton className="h-24" />}>
          {(list) => (
            <Entries
              kind="variable"
              projectRef={projectRef}
              entries={list.map(({ name, value, updateTime }) => ({ name, shown: value, time: millis(updateTime) }))}
            />
          )}
        </Loaded>
      </FormSection>
    </>
  );
}

function Entries({ kind, projectRef, entries }: { kind: Kind; projectRef: string; entries: Entry[] }) {
  const cache = useQueryClient();
  const [adds, setAdds] = useState(false);
  const [removes, setRemoves] = useState<string>();
  const [busy, setBusy] = useState(false);
  const renew = () =>
    cache.invalidateQueries({ queryKey: kind === "secret" ? keys.secrets(projectRef) : keys.variables(projectRef) });
  const remove = async (name: string) => {
    setBusy(true);
    const request = { projectRef, names: [name], requestId: uuid() };
    try {
      await (kind === "secret" ? projects.deleteSecrets(request) : projects.deleteVariables(request));
      await renew();
      toast(say.removed(name));
    } catch (error) {
      toast(told(explain(error)));
    }
    setBusy(false);
    setRemoves(undefined);
  };
  return (
    <Card>
      {entries.length === 0 && (
        <p className="px-4 py-5 text-13 text-ink-3 md:px-5">{kind === "secret" ? say.noSecrets : say.noVariables}</p>
      )}
      <ul>
        {entries.map(({ name, shown, time }) => (
          <li key={name} className="flex items-center gap-3 border-b border-line py-2 pr-2 pl-4 text-13 md:pl-5">
            <div className="min-w-0 flex-1 md:flex md:items-center md:gap-3">
              <code className="code block font-medium wrap-anywhere md:w-2/5">{name}</code>
              <span className="flex min-w-0 flex-1 items-center">
                <code className="code truncate text-ink-3">{shown}</code>
                <CopyButton
                  value={shown}
                  what={`${kind === "secret" ? say.digest.toLowerCase() : say.value.toLowerCase()} of ${name}`}
                />
              </span>
            </div>
            <span className="text-12 text-ink-3 max-md:hidden">
              <RelativeTime time={time} />
            </span>
            <IconButton small label={say.remove(name)} icon={Trash2} onClick={() => setRemoves(name)} />
          </li>
        ))}
      </ul>
      <div className="flex justify-end px-4 py-3 md:px-5">
        <Button icon={Plus} onClick={() => setAdds(true)}>
          {kind === "secret" ? say.addSecret : say.addVariable}
        </Button>
      </div>
      {adds && <Add kind={kind} projectRef={projectRef} onClose={() => setAdds(false)} onDone={renew} />}
      <Confirm
        open={removes !== undefined}
        onClose={() => setRemoves(undefined)}
        title={say.remove(removes ?? "")}
        description={say.removeWhat}
        action={say.remove(removes ?? "")}
        danger
        busy={busy}
        onConfirm={() => removes && void remove(removes)}
      />
    </Card>
  );
}

function Add({
  kind,
  projectRef,
  onClose,
  onDone,
}: {
  kind: Kind;
  projectRef: string;
  onClose: () => void;
  onDone: () => Promise<unknown>;
}) {
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const bad = name !== "" && !VARIABLE.test(name);
  const title = kind === "secret" ? say.addSecret : say.addVariable;
  const submit = async (event?: FormEvent) => {
    event?.preventDefault();
    if (busy || !name || bad) return;
    setBusy(true);
    setProblem(undefined);
    try {
      const requestId = uuid();
      const { operation } =
        kind === "secret"
          ? await projects.setSecrets({ projectRef, secrets: [{ name, value }], requestId })
          : await projects.setVariables({ projectRef, variables: [{ name, value }], requestId });
      await onDone();
      toast(operation ? say.set(name) : say.same(name));
      onClose();
    } catch (error) {
      setProblem(explain(error));
      setBusy(false);
    }
  };
  const ValueInput = kind === "secret" ? PasswordInput : Input;
  return (
    <Dialog
      open
      onClose={onClose}
      title={title}
      description={kind === "secret" ? say.secretsWhat : say.variablesWhat}
      dirty={name !== "" || value !== ""}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" busy={busy} onClick={() => void submit()}>
            {title}
          </Button>
        </>
      }
    >
      <form onSubmit={submit} noValidate className="flex flex-col gap-4">
        <FormError>{problem && [told(problem), ...problem.fields.map(({ message }) => message)].join(" ")}</FormError>
        <Field label={say.varName} error={bad ? say.badName : undefined}>
          <Input
            value={name}
            maxLength={128}
            autoComplete="off"
            autoCapitalize="off"
            spellCheck={false}
            onChange={(event) => setName(event.target.value)}
          />
        </Field>
        <Field label={say.value}>
          <ValueInput value={value} autoComplete="off" spellCheck={false} onChange={(event) => setValue(event.target.value)} />
        </Field>
        <button type="submit" hidden />
      </form>
    </Dialog>
  );
}
