/** Rules of fields, as the server has them, for an answer before the call. The server's answer decides. */

import { z } from "zod/mini";

export const email = z.string().check(z.trim(), z.regex(/^\S+@\S+\.\S+$|^\S+@localhost$/, "Enter an e-mail address."));
export const newPassword = z.string().check(z.minLength(10, "Enter at least 10 characters."));
export const password = z.string().check(z.minLength(1, "Enter your password."));
export const displayName = z.string().check(z.trim(), z.maxLength(80, "At most 80 characters."));
