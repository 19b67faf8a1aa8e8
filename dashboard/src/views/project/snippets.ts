/** How a program connects to a project, with its real values, to be pasted as they are. */

export type Way = "supabase-js" | "psql" | "cURL";

export interface Values {
  apiUrl: string;
  anonKey: string;
  dbUrl: string;
  /** Its release has TLS for the database. */
  tls: boolean;
  /** File to which the certificate is saved. */
  certificate: string;
  /** Names of the project's services. */
  services: string[];
}

/** The ways that this project has: without a gateway only psql, without a published database only the others. */
export function waysOf({ apiUrl, dbUrl }: Values): Way[] {
  const ways: Way[] = [];
  if (apiUrl) ways.push("supabase-js");
  if (dbUrl) ways.push("psql");
  if (apiUrl) ways.push("cURL");
  return ways;
}

export function snippet(way: Way, values: Values): string {
  const { apiUrl, anonKey, dbUrl, tls, certificate } = values;
  const rest = values.services.includes("api");
  if (way === "supabase-js") {
    return [
      'import { createClient } from "@supabase/supabase-js"',
      "",
      "const supabase = createClient(",
      `  "${apiUrl}",`,
      `  "${anonKey}",`,
      ")",
      rest
        ? 'const { data } = await supabase.from("todos").select()'
        : 'const { data } = await supabase.functions.invoke("hello")',
    ].join("\n");
  }
  if (way === "psql") return `psql "${dbUrl}${tls ? `?sslmode=verify-full&sslrootcert=${certificate}` : ""}"`;
  return [
    `curl "${apiUrl}${rest ? "/rest/v1/todos?select=*" : "/functions/v1/hello"}" \\`,
    `  -H "apikey: ${anonKey}" \\`,
    `  -H "Authorization: Bearer ${anonKey}"`,
  ].join("\n");
}

export interface Piece {
  text: string;
  kind: "plain" | "keyword" | "string";
}

/** Keywords and strings for their colours. */
export function pieces(code: string): Piece[] {
  return code
    .split(/("[^"\n]*"|\b(?:import|from|const|await)\b(?!\())/)
    .filter(Boolean)
    .map((text) => ({
      text,
      kind: text.startsWith('"') ? "string" : /^(import|from|const|await)$/.test(text) ? "keyword" : "plain",
    }));
}
