-- Reactions to the tenant's DDL. Event triggers belong to a superuser. Runs as supabase_admin.

-- PostgREST reloads its schema cache after a change that it can see.
create function extensions.pgrst_ddl_watch() returns event_trigger language plpgsql set search_path = '' as $$
  begin
    if exists (
      select from pg_catalog.pg_event_trigger_ddl_commands() as c
      where c.schema_name is distinct from 'pg_temp' and c.command_tag not like '%STATISTICS%')
    then
      notify pgrst, 'reload schema';
    end if;
  end
$$;
create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();

create function extensions.pgrst_drop_watch() returns event_trigger language plpgsql set search_path = '' as $$
  begin
    if exists (select from pg_catalog.pg_event_trigger_dropped_objects() as o where not o.is_temporary) then
      notify pgrst, 'reload schema';
    end if;
  end
$$;
create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_drop_watch();
