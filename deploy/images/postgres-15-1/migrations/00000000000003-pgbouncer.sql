-- What a connection pooler needs to check passwords. Runs as supabase_admin.
create schema pgbouncer authorization pgbouncer;
create function pgbouncer.get_auth(p_usename text) returns table (username text, password text)
  language sql stable security definer set search_path = ''
  as $$
    select usename::text, passwd::text
    from pg_catalog.pg_shadow
    where usename = p_usename
      and not usesuper
      and (valuntil is null or valuntil > pg_catalog.now())
  $$;
revoke all on function pgbouncer.get_auth(text) from public;
grant execute on function pgbouncer.get_auth(text) to pgbouncer;
