"use client";

import type { FieldValues, Path, UseFormReturn } from "react-hook-form";
import { explain, told } from "./errors";

/** Brings what the server says of a form to its fields; returns what belongs to none of them. The first wrong field gets the focus. */
export function toForm<Values extends FieldValues>(
  form: UseFormReturn<Values>,
  error: unknown,
  renamed: Record<string, string> = {},
): string {
  const problem = explain(error);
  const known = Object.keys(form.getValues());
  const elsewhere: string[] = [];
  let first = true;
  for (const { field, message } of problem.fields) {
    const name = renamed[field] ?? field;
    if (known.includes(name)) {
      form.setError(name as Path<Values>, { message }, { shouldFocus: first });
      first = false;
    } else elsewhere.push(message);
  }
  if (problem.fields.length > 0) return elsewhere.join(" ");
  return told(problem);
}
