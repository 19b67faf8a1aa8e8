-- The schemas every project has, and what new objects in them allow by default. Runs as postgres.

create publication supabase_realtime;

-- extensions: keeps the tenant's public schema clean.
create schema extensions;
grant usage on schema extensions to anon, authenticated, service_role, dashboard_user;
grant all on schema extensions to dashboard_user;
alter default privileges in schema extensions grant execute on functions to anon, authenticated, service_role;
create extension "uuid-ossp" with schema extensions;
create extension pgcrypto with schema extensions;
create extension pgjwt with schema extensions;

-- public: tables that postgres makes are reachable for the API, under row-level security.
grant usage on schema public to postgres, anon, authenticated, service_role;
alter default privileges in schema public grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges in schema public grant all on routines to postgres, anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
  grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
  grant all on routines to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema public
  grant all on sequences to postgres, anon, authenticated, service_role;

-- auth: tables come with the auth service's own migrations. Policies use the functions below from the
-- first day, so they are here, owned by the service's role, which may replace them.
create schema auth authorization supabase_admin;
grant all on schema auth to supabase_auth_admin, dashboard_user;
grant usage on schema auth to anon, authenticated, service_role, postgres;
grant create on database postgres to supabase_auth_admin;
alter default privileges for role supabase_auth_admin in schema auth grant all on tables to postgres, dashboard_user;
alter default privileges for role supabase_auth_admin in schema auth grant all on sequences to postgres, dashboard_user;
alter default privileges for role supabase_auth_admin in schema auth grant all on routines to postgres, dashboard_user;

set role supabase_auth_admin;

-- One claim of the request's token. PostgREST sets all claims as one setting; older ones set each alone.
create function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;
create function auth.role() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
$$;
create function auth.email() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email')
$$;
create function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), ''))::jsonb
$$;
comment on function auth.uid() is 'The user of the request: claim "sub".';
comment on function auth.role() is 'The role of the request: claim "role".';
comment on function auth.email() is 'The address of the request''s user: claim "email".';
comment on function auth.jwt() is 'All claims of the request''s token.';

reset role;

-- storage: tables come with the storage service's own migrations.
create schema storage authorization supabase_admin;
grant all on schema storage to supabase_storage_admin, dashboard_user;
grant usage on schema storage to postgres, anon, authenticated, service_role;
grant create on database postgres to supabase_storage_admin;
alter default privileges in schema storage grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges in schema storage grant all on routines to postgres, anon, authenticated, service_role;
alter default privileges in schema storage grant all on sequences to postgres, anon, authenticated, service_role;

-- realtime: objects come with the realtime service's own migrations. `_realtime`, its private schema,
-- is made by the release's 99-realtime.sql.
create schema realtime authorization supabase_admin;
grant usage on schema realtime to postgres, anon, authenticated, service_role;
alter default privileges for role supabase_admin in schema realtime grant all on tables to postgres, dashboard_user;
alter default privileges for role supabase_admin in schema realtime grant all on sequences to postgres, dashboard_user;
alter default privileges for role supabase_admin in schema realtime grant all on routines to postgres, dashboard_user;

grant all on database postgres to dashboard_user;
