import { expect, test } from "vitest";
import { pieces, snippet, type Values, waysOf } from "./snippets";

const values: Values = {
  apiUrl: "http://127.0.0.1:5500",
  anonKey: "eyJ.anon",
  dbUrl: "postgresql://postgres@127.0.0.1:5501/postgres",
  tls: true,
  certificate: "abc-ca.crt",
  services: ["postgres", "functions", "gateway"],
};

test("the values are the project's own", () => {
  expect(snippet("supabase-js", values)).toContain('"http://127.0.0.1:5500"');
  expect(snippet("psql", values)).toBe(
    'psql "postgresql://postgres@127.0.0.1:5501/postgres?sslmode=verify-full&sslrootcert=abc-ca.crt"',
  );
  expect(snippet("psql", { ...values, tls: false })).toBe('psql "postgresql://postgres@127.0.0.1:5501/postgres"');
  expect(snippet("cURL", values)).toContain("Bearer eyJ.anon");
});

test("a project without the REST API is shown how to call a function", () => {
  expect(snippet("supabase-js", values)).toContain("functions.invoke");
  expect(snippet("supabase-js", { ...values, services: ["api"] })).toContain('.from("todos")');
  expect(snippet("cURL", { ...values, services: ["api"] })).toContain("/rest/v1/todos");
});

test("only the ways that there are", () => {
  expect(waysOf(values)).toEqual(["supabase-js", "psql", "cURL"]);
  expect(waysOf({ ...values, dbUrl: "" })).toEqual(["supabase-js", "cURL"]);
  expect(waysOf({ ...values, apiUrl: "" })).toEqual(["psql"]);
});

test("the pieces are the code, and a method called `from` is no keyword", () => {
  const code = snippet("supabase-js", { ...values, services: ["api"] });
  const found = pieces(code);
  expect(found.map(({ text }) => text).join("")).toBe(code);
  expect(found.filter(({ kind }) => kind === "keyword").map(({ text }) => text)).toEqual([
    "import",
    "from",
    "const",
    "const",
    "await",
  ]);
});
