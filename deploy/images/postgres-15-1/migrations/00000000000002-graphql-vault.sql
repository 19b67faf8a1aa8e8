-- Schemas whose extensions Debian lacks: there, so that grants and exposed-schema lists work, and clear
-- about what is missing. Runs as supabase_admin.
create schema graphql;
create schema graphql_public;
grant usage on schema graphql, graphql_public to postgres, anon, authenticated, service_role;

create function graphql_public.graphql(
  "operationName" text default null, query text default null,
  variables jsonb default null, extensions jsonb default null) returns jsonb
  language sql immutable
  as $$
    select jsonb_build_object('errors', jsonb_build_array(
      jsonb_build_object('message', 'pg_graphql is not available in this stack release')))
  $$;
comment on function graphql_public.graphql(text, text, jsonb, jsonb) is
  'Answers /graphql/v1 while pg_graphql is not available.';
grant execute on function graphql_public.graphql(text, text, jsonb, jsonb)
  to postgres, anon, authenticated, service_role;

create schema vault;
comment on schema vault is 'Reserved for supabase_vault, which this stack release does not have.';
