"use client";

import { zodResolver } from "@hookform/resolvers/zod";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Controller, useForm } from "react-hook-form";
import { z } from "zod/mini";
import { personalAccessTokens } from "@/api/clients";
import { toForm } from "@/api/forms";
import { keys } from "@/api/keys";
import { PersonalAccessTokenScope as Scope } from "@/gen/supalove/v1/personal_access_token_pb";
import { Button, Checkbox, CopyField, Drawer, Field, FormError, Input, Select } from "@/ui";
import { LIFETIMES, PLATFORM_SCOPE, SCOPES, messages as say } from "./messages";

const schema = z.object({
  name: z.string().check(z.trim(), z.minLength(1, "Enter a name."), z.maxLength(80, "At most 80 characters.")),
  scopes: z.array(z.number()).check(z.minLength(1, say.scopeNeeded)),
  days: z.string(),
});

const DAY = 24 * 60 * 60;

export function NewToken({ open, onClose, operator }: { open: boolean; onClose: () => void; operator: boolean }) {
  const cache = useQueryClient();
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState("");
  const form = useForm({
    resolver: zodResolver(schema),
    mode: "onTouched",
    defaultValues: { name: "", scopes: [Scope.READ as number], days: "90" },
  });
  const { errors, isSubmitting, isDirty } = form.formState;
  const close = () => {
    setToken("");
    setProblem("");
    form.reset();
    onClose();
  };
  const submit = form.handleSubmit(async ({ name, scopes, days }) => {
    setProblem("");
    try {
      const ttl = { seconds: BigInt(Number(days) * DAY), nanos: 0 };
      const answer = await personalAccessTokens.createPersonalAccessToken({ name, scopes, ttl });
      setToken(answer.token);
      void cache.invalidateQueries({ queryKey: keys.tokens });
    } catch (error) {
      setProblem(toForm(form, error, { ttl: "days" }));
    }
  });
  if (token) {
    return (
      <Drawer
        open={open}
        onClose={close}
        title={say.tokenMade}
        description={say.tokenOnce}
        footer={
          <Button look="primary" onClick={close}>
            {say.done}
          </Button>
        }
      >
        <CopyField value={token} what="token" wraps />
      </Drawer>
    );
  }
  return (
    <Drawer
      open={open}
      onClose={close}
      title={say.newToken}
      description={say.tokensWhat}
      dirty={isDirty}
      footer={
        <>
          <Button onClick={close}>Cancel</Button>
          <Button look="primary" busy={isSubmitting} onClick={() => void submit()}>
            {say.createToken}
          </Button>
        </>
      }
    >
      <form onSubmit={submit} noValidate className="grid gap-5">
        <FormError>{problem}</FormError>
        <Field label={say.tokenName} hint={say.tokenNameHint} error={errors.name?.message}>
          <Input maxLength={80} autoComplete="off" {...form.register("name")} />
        </Field>
        <Controller
          control={form.control}
          name="scopes"
          render={({ field }) => (
            <fieldset>
              <legend className="mb-2 text-13 font-medium">{say.scopes}</legend>
              <div className="grid gap-3">
                {[...SCOPES, ...(operator ? [PLATFORM_SCOPE] : [])].map(({ scope, label, hint }) => (
                  <Checkbox
                    key={scope}
                    label={label}
                    hint={hint}
                    checked={scope === Scope.READ || field.value.includes(scope)}
                    disabled={scope === Scope.READ}
                    onChange={(on) =>
                      field.onChange(on ? [...field.value, scope] : field.value.filter((held) => held !== scope))
                    }
                  />
                ))}
              </div>
              <FormError>{errors.scopes?.message}</FormError>
            </fieldset>
          )}
        />
        <Controller
          control={form.control}
          name="days"
          render={({ field }) => (
            <div>
              <div className="mb-1.5 text-13 font-medium">{say.expires}</div>
              <Select label={say.expires} value={field.value} options={LIFETIMES} onChange={field.onChange} />
            </div>
          )}
        />
      </form>
    </Drawer>
  );
}
