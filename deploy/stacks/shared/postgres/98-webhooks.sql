-- Database webhooks: a trigger function that posts the changed row to a URL. Runs as postgres, still a
-- superuser, in the first start of the database.
--
-- The requests are sent by pg_net. Where a release lacks it, everything is there but a call of the
-- trigger function fails with a clear message, and a pg_net that comes later is used without a change.

create role supabase_functions_admin noinherit createrole login noreplication;
create schema supabase_functions authorization supabase_functions_admin;
alter role supabase_functions_admin set search_path = supabase_functions;
grant create on database postgres to supabase_functions_admin;
grant supabase_functions_admin to postgres;
grant usage on schema supabase_functions to postgres, anon, authenticated, service_role;
alter default privileges in schema supabase_functions
  grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges in schema supabase_functions
  grant all on sequences to postgres, anon, authenticated, service_role;

create table supabase_functions.migrations (
  version text primary key,
  inserted_at timestamptz not null default now()
);
comment on table supabase_functions.migrations is 'Versions of this schema that are in place.';
insert into supabase_functions.migrations (version) values ('initial'), ('20210809183423_update_grants');

create table supabase_functions.hooks (
  id bigserial primary key,
  hook_table_id integer not null,
  hook_name text not null,
  created_at timestamptz not null default now(),
  request_id bigint
);
create index supabase_functions_hooks_request_id_idx on supabase_functions.hooks (request_id);
create index supabase_functions_hooks_h_table_id_h_name_idx on supabase_functions.hooks (hook_table_id, hook_name);
comment on table supabase_functions.hooks is 'Log of the webhook requests, by table and trigger.';

-- Arguments of the trigger: url, method, headers, query parameters, timeout in milliseconds.
create function supabase_functions.http_request() returns trigger
  language plpgsql security definer set search_path = '' as $$
  declare
    url text := tg_argv[0];
    method text := upper(tg_argv[1]);
    headers jsonb := coalesce(nullif(tg_argv[2], 'null'), '{"Content-Type": "application/json"}');
    params jsonb := coalesce(nullif(tg_argv[3], 'null'), '{}');
    timeout_ms integer := coalesce(nullif(tg_argv[4], 'null'), '1000');
    payload jsonb;
    request_id bigint;
  begin
    if coalesce(nullif(url, 'null'), '') = '' then
      raise exception 'the webhook''s first argument, the url, is missing';
    end if;
    if method is null or method not in ('GET', 'POST') then
      raise exception 'the webhook''s second argument must be GET or POST';
    end if;
    if not exists (select from pg_catalog.pg_extension where extname = 'pg_net') then
      raise exception 'database webhooks need the extension pg_net'
        using errcode = 'feature_not_supported',
              hint = 'This stack release does not offer pg_net, or "create extension pg_net" has not been run.';
    end if;

    if method = 'GET' then
      execute 'select net.http_get(url := $1, params := $2, headers := $3, timeout_milliseconds := $4)'
        into request_id using url, params, headers, timeout_ms;
    else
      payload := pg_catalog.jsonb_build_object(
        'type', tg_op, 'table', tg_table_name, 'schema', tg_table_schema,
        'record', case when tg_op = 'DELETE' then null else pg_catalog.to_jsonb(new) end,
        'old_record', case when tg_op = 'INSERT' then null else pg_catalog.to_jsonb(old) end);
      execute 'select net.http_post(url := $1, body := $2, params := $3, headers := $4, timeout_milliseconds := $5)'
        into request_id using url, payload, params, headers, timeout_ms;
    end if;

    insert into supabase_functions.hooks (hook_table_id, hook_name, request_id)
    values (tg_relid, tg_name, request_id);
    return coalesce(new, old);
  end
$$;

alter table supabase_functions.migrations owner to supabase_functions_admin;
alter table supabase_functions.hooks owner to supabase_functions_admin;
alter function supabase_functions.http_request() owner to supabase_functions_admin;
revoke all on function supabase_functions.http_request() from public;
grant execute on function supabase_functions.http_request() to postgres, anon, authenticated, service_role;

-- pg_net, when it is created, is opened to the roles whose triggers call it. supabase/postgres has such a
-- trigger of its own, which does more; it stays.
do $do$
  begin
    if exists (select from pg_event_trigger where evtname = 'issue_pg_net_access') then
      return;
    end if;
    create function extensions.grant_pg_net_access() returns event_trigger
      language plpgsql security definer set search_path = '' as $$
      begin
        if exists (
          select from pg_catalog.pg_event_trigger_ddl_commands() as c
          join pg_catalog.pg_extension as e on c.objid = e.oid
          where c.object_type = 'extension' and e.extname = 'pg_net')
        then
          grant usage on schema net to supabase_functions_admin, postgres, anon, authenticated, service_role;
          grant execute on all functions in schema net
            to supabase_functions_admin, postgres, anon, authenticated, service_role;
        end if;
      end
    $$;
    alter function extensions.grant_pg_net_access() owner to supabase_admin;
    create event trigger issue_pg_net_access on ddl_command_end when tag in ('CREATE EXTENSION')
      execute function extensions.grant_pg_net_access();
    alter event trigger issue_pg_net_access owner to supabase_admin;
  end
$do$;

do $$
  begin
    if exists (select from pg_available_extensions where name = 'pg_net') then
      create extension pg_net with schema extensions;
    end if;
  end
$$;
