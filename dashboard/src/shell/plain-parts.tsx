"use client";

import type { ReactNode } from "react";
import type { FieldError, UseFormRegisterReturn } from "react-hook-form";
import { Field, Input, PasswordInput } from "@/ui/field";

/** Fields that several of the signed-out pages have. */

export function EmailField({ register, error }: { register: UseFormRegisterReturn; error: FieldError | undefined }) {
  return (
    <Field label="E-mail address" error={error?.message}>
      <Input large type="email" autoComplete="username" {...register} />
    </Field>
  );
}

export function NameField({ register, error }: { register: UseFormRegisterReturn; error: FieldError | undefined }) {
  return (
    <Field label="Your name" error={error?.message}>
      <Input large autoComplete="name" maxLength={80} {...register} />
    </Field>
  );
}

export function NewPasswordField({
  label = "Password",
  register,
  error,
}: {
  label?: string;
  register: UseFormRegisterReturn;
  error: FieldError | undefined;
}) {
  return (
    <Field label={label} hint="At least 10 characters, and not easy to guess." error={error?.message}>
      <PasswordInput large autoComplete="new-password" {...register} />
    </Field>
  );
}

export function Small({ children }: { children: ReactNode }) {
  return <p className="text-13 text-ink-3">{children}</p>;
}
