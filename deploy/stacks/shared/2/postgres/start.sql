-- The rules of a project's database, brought about at each start: the last SQL of its first start, and what the agent
-- runs at every later one, as supabase_admin over the server's socket, in database postgres. It brings any database of
-- an older release to the same rules, also one whose tenant made itself a superuser: so it trusts nothing that a tenant
-- could have written, names everything with its schema, and runs no function that is not pg_catalog's: supalove_guard
-- refuses every other, and lets nobody but superusers in before the last line of this file.
--
-- What is not on a list below is taken away. Data of the tenant is never touched.
\set ON_ERROR_STOP on
\set QUIET on
-- What is sent here is nobody's to read: not while it runs, not later in statistics.
set track_activities = off;
set pg_stat_statements.track = 'none';
set pg_stat_statements.track_utility = off;
-- What the database's or the role's settings could have changed for this session.
set idle_session_timeout = 0;
set role none;
set search_path = pg_catalog, pg_temp;
set session_replication_role = origin;
set default_transaction_read_only = off;
set default_transaction_isolation = 'read committed';
set row_security = off;
set check_function_bodies = off;
set statement_timeout = '60s';
set lock_timeout = '20s';
set idle_in_transaction_session_timeout = 0;
set client_min_messages = warning;
-- Of passwords only what the server keeps of them: who reads that cannot log in with it.
\set internal '{{ secrets.postgres_password | scram_verifier }}'
\set tenant '{{ secrets.tenant_db_password | scram_verifier }}'
-- A statement that fails must not bring its text into the log.
set log_statement = 'none';
set log_min_error_statement = panic;
set log_min_duration_statement = -1;

-- A superuser's sessions that were open before know the old rules. There is none but this one and the server's own.
do $$
  begin
    perform pg_terminate_backend(a.pid)
    from pg_stat_activity as a join pg_roles as r on r.oid = a.usesysid
    where r.rolsuper and a.pid <> pg_backend_pid()
      and a.backend_type !~ '(launcher|autovacuum worker)$';
  end
$$;

begin;
-- Event triggers run with the rights of who makes the change, here a superuser's. Those of the platform come back below;
-- a tenant has none, so any other is a superuser's that was left behind.
do $$
  declare
    trigger record;
  begin
    for trigger in select evtname from pg_event_trigger loop
      execute format('alter event trigger %I disable', trigger.evtname);
    end loop;
    for trigger in
      select evtname from pg_event_trigger
      where evtname not in ('pgrst_ddl_watch', 'pgrst_drop_watch', 'issue_pg_net_access')
    loop
      execute format('drop event trigger %I', trigger.evtname);
      raise warning 'event trigger % was not the platform''s and is gone', trigger.evtname;
    end loop;
  end
$$;

-- A lock for this file that no tenant can take.
create schema if not exists supalove authorization supabase_admin;
alter schema supalove owner to supabase_admin;
create table if not exists supalove.start ();
do $$
  begin
    -- In an older database a tenant could make a schema of this name.
    if not exists (select from pg_class where oid = to_regclass('supalove.start') and relkind = 'r' and relowner = 10) then
      raise exception 'supalove.start is not the platform''s table: the database was tampered with'
        using hint = 'Dump it as the role postgres and restore it into a new project.';
    end if;
  end
$$;
-- One at a time: a first start and an agent, or two agents, do not meet in the middle.
lock table supalove.start in share row exclusive mode;

-- Catalogs, first of all: what a tenant that was a superuser has changed so that a superuser's statements do something
-- else, or so that others get a superuser's rights.
do $$
  declare
    item record;
    foreign_code text;
  begin
    -- Rules and triggers on catalogs and on the jobs, before this file changes them.
    delete from pg_rewrite as r using pg_class as c
    where c.oid = r.ev_class and r.rulename <> '_RETURN'
      and (c.oid < 16384 and (c.relname, r.rulename) not in (('pg_settings', 'pg_settings_u'), ('pg_settings', 'pg_settings_n'))
        or c.oid in (to_regclass('cron.job'), to_regclass('cron.job_run_details')));
    for item in
      select t.oid, t.tgrelid, t.tgname, t.tgrelid::regclass::text as relation from pg_trigger as t
      where not t.tgisinternal
        and (t.tgrelid < 16384
          or t.tgrelid in (to_regclass('cron.job'), to_regclass('cron.job_run_details'))
            and t.tgname not in ('supalove_check_job', 'cron_job_cache_invalidate'))
    loop
      delete from pg_depend where classid = 'pg_trigger'::regclass and objid = item.oid;
      delete from pg_trigger where oid = item.oid;
      raise warning 'trigger % on % was not the platform''s and is gone', item.tgname, item.relation;
    end loop;
    update pg_class set relhastriggers = relhastriggers
    where oid in (to_regclass('cron.job'), to_regclass('cron.job_run_details'));
    delete from pg_subscription;
    -- The server's own functions run with their caller's rights and belong to the first superuser; languages that run
    -- anything are no tenant's.
    update pg_proc set prosecdef = false, proowner = 10 where oid < 16384 and (prosecdef or proowner <> 10);
    update pg_language set lanpltrusted = false where lanname in ('c', 'internal') and lanpltrusted;
    update pg_class set relowner = 10 where oid < 16384 and relowner <> 10;
    -- In the server's schemas nobody has anything: what is there is found before what it hides. The functions are pinned
    -- by their numbers; what came later is not the server's.
    select string_agg(found.name, ', ') into foreign_code from (
      select p.oid::regprocedure::text as name from pg_proc as p
      where p.oid >= 16384 and p.pronamespace in (11, to_regnamespace('information_schema'))
        and not exists (
          select from pg_depend as d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
      union all
      select o.oid::regoperator::text from pg_operator as o
      where o.oid >= 16384 and o.oprnamespace = 11
        or o.oid < 16384 and o.oprcode >= 16384
      union all
      select format('cast %s', c.oid) from pg_cast as c where c.oid < 16384 and c.castfunc >= 16384
      union all
      select format('type %s', t.typname) from pg_type as t
      where t.oid < 16384 and (t.typinput >= 16384 or t.typoutput >= 16384 or t.typreceive >= 16384 or t.typsend >= 16384)
      union all
      select format('aggregate %s', a.aggfnoid::regprocedure) from pg_aggregate as a
      where a.aggfnoid < 16384 and (a.aggtransfn >= 16384 or a.aggfinalfn >= 16384)
      union all
      select format('access method %s', a.amproc::regprocedure) from pg_amproc as a
      where a.oid < 16384 and a.amproc >= 16384
      union all
      select format('function %s', p.oid::regprocedure) from pg_proc as p
      where p.oid < 16384 and (p.prosupport >= 16384
        or p.prolang = 13 and p.probin !~ '^\$libdir/[a-z0-9_]+$' or p.prolang not in (12, 13, 14))
      union all
      select format('language %s', l.lanname) from pg_language as l
      where l.oid < 16384 and (l.lanplcallfoid >= 16384 or l.laninline >= 16384 or l.lanvalidator >= 16384)) as found;
    if foreign_code is not null then
      raise exception 'the database was tampered with by a superuser: %', foreign_code
        using hint = 'Dump it as the role postgres and restore it into a new project.';
    end if;
    for item in
      select c.relname, n.nspname, c.relkind from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
      where c.oid >= 16384 and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and c.relowner = 10
        and n.nspname in ('pg_catalog', 'information_schema')
        and not exists (
          select from pg_depend as d
          where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('e', 'a', 'i'))
    loop
      execute format('alter table %I.%I owner to postgres', item.nspname, item.relname);
      raise warning 'relation %.% was a superuser''s and is the tenant''s now', item.nspname, item.relname;
    end loop;
    -- Privileges on what the server has, beyond those that it began with.
    for item in
      select p.oid::regprocedure::text as name, a.grantee
      from pg_proc as p
      cross join lateral aclexplode(p.proacl) as a
      where p.oid < 16384 and a.grantee <> 10
        and not exists (
          select from pg_init_privs as i cross join lateral aclexplode(i.initprivs) as b
          where i.classoid = 'pg_proc'::regclass and i.objoid = p.oid and i.privtype = 'i' and b.grantee = a.grantee)
        and not (a.grantee = 0
          and not exists (select from pg_init_privs as i where i.classoid = 'pg_proc'::regclass and i.objoid = p.oid))
    loop
      execute format('revoke all on routine %s from %s cascade', item.name,
        case item.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(item.grantee)) end);
      raise warning 'role % could call % and cannot any more',
        case item.grantee when 0 then 'PUBLIC' else pg_get_userbyid(item.grantee) end, item.name;
    end loop;
    for item in
      select c.oid::regclass::text as name, a.grantee, a.privilege_type
      from pg_class as c
      cross join lateral aclexplode(c.relacl) as a
      where c.oid < 16384 and a.grantee <> 10
        -- Everybody reads the standard's views; initdb makes them after it has noted what there is.
        and not (c.relnamespace = to_regnamespace('information_schema') and a.privilege_type = 'SELECT')
        and not exists (
          select from pg_init_privs as i cross join lateral aclexplode(i.initprivs) as b
          where i.classoid = 'pg_class'::regclass and i.objoid = c.oid and i.objsubid = 0 and i.privtype = 'i'
            and b.grantee = a.grantee and b.privilege_type = a.privilege_type)
    loop
      execute format('revoke %s on table %s from %s cascade', item.privilege_type, item.name,
        case item.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(item.grantee)) end);
      raise warning 'role % could % on % and cannot any more',
        case item.grantee when 0 then 'PUBLIC' else pg_get_userbyid(item.grantee) end, item.privilege_type, item.name;
    end loop;
    for item in
      select t.attrelid::regclass::text as name, t.attname, a.grantee, a.privilege_type
      from pg_attribute as t
      cross join lateral aclexplode(t.attacl) as a
      where t.attrelid < 16384 and a.grantee <> 10
        and not exists (
          select from pg_init_privs as i cross join lateral aclexplode(i.initprivs) as b
          where i.classoid = 'pg_class'::regclass and i.objoid = t.attrelid and i.objsubid = t.attnum
            and i.privtype = 'i' and b.grantee = a.grantee and b.privilege_type = a.privilege_type)
    loop
      execute format('revoke %s (%I) on table %s from %s cascade', item.privilege_type, item.attname, item.name,
        case item.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(item.grantee)) end);
    end loop;
    for item in
      select p.parname, a.grantee from pg_parameter_acl as p cross join lateral aclexplode(p.paracl) as a
      where a.grantee <> 10
    loop
      execute format('revoke all on parameter %I from %s cascade', item.parname,
        case item.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(item.grantee)) end);
      raise warning 'role % could set % and cannot any more',
        case item.grantee when 0 then 'PUBLIC' else pg_get_userbyid(item.grantee) end, item.parname;
    end loop;
  end
$$;

-- The server samples a table's columns, and everybody with pg_read_all_data may read the samples: not of hashes. A target
-- of 0 for the column has no effect, since the server has the columns of this table built in.
do $$
  begin
    if not exists (
      select from pg_class
      where oid = 'pg_authid'::regclass and 'autovacuum_analyze_threshold=2147483647' = any (reloptions))
    then
      perform set_config('allow_system_table_mods', 'on', true);
      alter table pg_catalog.pg_authid set (autovacuum_analyze_threshold = 2147483647);
      perform set_config('allow_system_table_mods', 'off', true);
    end if;
  end
$$;
delete from pg_statistic as s using pg_attribute as a
where s.starelid = 'pg_authid'::regclass and a.attrelid = s.starelid and a.attnum = s.staattnum and a.attname = 'rolpassword';

-- Statistics of statements that superusers sent, with their texts. The function is made here, because one that is there
-- may be another.
create function pg_temp.forget_statements(oid, oid, bigint) returns void language c
  as '$libdir/pg_stat_statements', 'pg_stat_statements_reset_1_7';
select pg_temp.forget_statements(10, 0, 0) \g /dev/null
drop function pg_temp.forget_statements(oid, oid, bigint);

-- The lists.
create temporary table rules_roles (name text primary key, attributes text not null) on commit drop;
insert into rules_roles values
  ('postgres', 'login inherit createdb createrole replication bypassrls'),
  ('anon', 'nologin noinherit nocreatedb nocreaterole noreplication nobypassrls'),
  ('authenticated', 'nologin noinherit nocreatedb nocreaterole noreplication nobypassrls'),
  ('service_role', 'nologin noinherit nocreatedb nocreaterole noreplication bypassrls'),
  ('authenticator', 'login noinherit nocreatedb nocreaterole noreplication nobypassrls'),
  ('supabase_auth_admin', 'login noinherit nocreatedb createrole noreplication nobypassrls'),
  ('supabase_storage_admin', 'login noinherit nocreatedb createrole noreplication nobypassrls'),
  ('supabase_functions_admin', 'login noinherit nocreatedb createrole noreplication nobypassrls'),
  ('supabase_replication_admin', 'login inherit nocreatedb nocreaterole replication nobypassrls'),
  ('supabase_read_only_user', 'login inherit nocreatedb nocreaterole noreplication bypassrls'),
  ('pgbouncer', 'login inherit nocreatedb nocreaterole noreplication nobypassrls'),
  ('dashboard_user', 'nologin inherit createdb createrole replication nobypassrls'),
  -- Whom the release's probe logs in as. It may nothing but log in.
  ('supalove_probe', 'login noinherit nocreatedb nocreaterole noreplication nobypassrls');

-- Memberships between the platform's roles. The tenant's roles may be members of `lent`, and these of the tenant's.
create temporary table rules_members (role text not null, member text not null) on commit drop;
insert into rules_members values
  ('anon', 'authenticator'), ('authenticated', 'authenticator'), ('service_role', 'authenticator'),
  ('anon', 'postgres'), ('authenticated', 'postgres'), ('service_role', 'postgres'),
  ('anon', 'supabase_storage_admin'), ('authenticated', 'supabase_storage_admin'),
  ('service_role', 'supabase_storage_admin'),
  ('supabase_functions_admin', 'postgres'),
  ('pg_monitor', 'postgres'), ('pg_read_all_data', 'postgres'), ('pg_signal_backend', 'postgres'),
  ('pg_read_all_data', 'supabase_read_only_user'),
  ('pg_read_all_settings', 'pg_monitor'), ('pg_read_all_stats', 'pg_monitor'), ('pg_stat_scan_tables', 'pg_monitor');

-- Roles that come with PostgreSQL and that the tenant may have. All others are marked as superusers, which only a
-- superuser can grant. A marked role gives a member the way to become one, so nobody is a member of it. The owner of a
-- database is always a member of pg_database_owner, which must not be marked for that reason.
create temporary table rules_lent (name text primary key) on commit drop;
insert into rules_lent values
  ('postgres'), ('anon'), ('authenticated'), ('service_role'), ('pg_database_owner'), ('pg_monitor'),
  ('pg_read_all_settings'), ('pg_read_all_stats'), ('pg_stat_scan_tables'), ('pg_signal_backend'), ('pg_read_all_data');

-- Functions that run with a superuser's rights for others.
create temporary table rules_functions (name text primary key) on commit drop;
insert into rules_functions values
  ('pgbouncer.get_auth(text)'), ('supalove.grant_pg_net_access()');

-- What others may write in tables, views and sequences of superusers.
create temporary table rules_tables (name text not null, grantee text not null, privilege text not null) on commit drop;
insert into rules_tables values
  -- pg_cron's own: a policy shows everybody the runs of their own jobs.
  ('cron.job_run_details', 'public', 'DELETE'), ('cron.job_run_details', 'postgres', 'DELETE');

-- Roles: no superusers but supabase_admin, no replication but the platform's.
do $$
  declare
    role record;
  begin
    update pg_authid set rolsuper = false where oid < 16384 and rolname in (select name from rules_lent) and rolsuper;
    for role in select rolname from pg_authid where rolsuper and rolname <> 'supabase_admin' and oid >= 16384 loop
      execute format('alter role %I nosuperuser', role.rolname);
      raise warning 'role % was a superuser and is none any more', role.rolname;
    end loop;
    for role in
      select rolname from pg_authid
      where rolreplication and oid >= 16384 and rolname not in (select name from rules_roles)
    loop
      execute format('alter role %I noreplication', role.rolname);
      raise warning 'role % could replicate and cannot any more', role.rolname;
    end loop;
    for role in select name, attributes from rules_roles loop
      if not exists (select from pg_roles where rolname = role.name) then
        execute format('create role %I', role.name);
        raise warning 'role % was missing and is there again', role.name;
      end if;
      execute format('alter role %I nosuperuser connection limit -1 valid until ''infinity'' %s', role.name, role.attributes);
    end loop;
  end
$$;
alter role supabase_admin superuser login createdb createrole replication bypassrls connection limit -1;
alter role supalove_probe connection limit 5;

-- Passwords. A probe that is red for the platform's own reasons cannot be made red by a tenant's ALTER ROLE.
alter role supabase_admin password :'internal';
alter role supalove_probe password :'internal';
alter role authenticator password :'internal';
alter role pgbouncer password :'internal';
alter role supabase_auth_admin password :'internal';
alter role supabase_functions_admin password :'internal';
alter role supabase_storage_admin password :'internal';
alter role supabase_replication_admin password null;
alter role supabase_read_only_user password null;
alter role postgres password :'tenant';

-- Memberships.
do $$
  declare
    membership record;
  begin
    for membership in
      select r.rolname as role, m.rolname as member
      from pg_auth_members as a
      join pg_authid as r on r.oid = a.roleid
      join pg_authid as m on m.oid = a.member
      where (r.rolname, m.rolname) not in (select role, member from rules_members)
        and (r.oid < 16384 or r.rolname like 'supabase\_%' or r.rolname like 'supalove\_%'
          or r.rolname in (select name from rules_roles))
        and (r.rolname not in (select name from rules_lent)
          or m.rolname in (select name from rules_roles where name <> 'postgres') or m.oid < 16384)
    loop
      execute format('revoke %I from %I cascade', membership.role, membership.member);
      raise warning 'role % was a member of % and is none any more', membership.member, membership.role;
    end loop;
    for membership in
      select role, member from rules_members
      where not pg_has_role(to_regrole(member), to_regrole(role), 'member')
    loop
      execute format('grant %I to %I', membership.role, membership.member);
    end loop;
  end
$$;
update pg_authid set rolsuper = true
where oid < 16384 and rolname like 'pg\_%' and not rolsuper and rolname not in (select name from rules_lent);

-- Settings of roles. Those of the platform's own roles are written here; of the tenant's, what only a superuser can have
-- set goes.
do $$
  declare
    role record;
    item record;
  begin
    for role in
      select distinct r.rolname, d.datname
      from pg_db_role_setting as s
      join pg_roles as r on r.oid = s.setrole
      left join pg_database as d on d.oid = s.setdatabase
      where r.rolname like 'supabase\_%' or r.rolname like 'supalove\_%' or r.rolname like 'pg\_%'
        or r.rolname in ('pgbouncer', 'dashboard_user')
    loop
      if role.datname is null then
        execute format('alter role %I reset all', role.rolname);
      else
        execute format('alter role %I in database %I reset all', role.rolname, role.datname);
      end if;
    end loop;
    for item in
      select r.rolname, d.datname, split_part(c.setting, '=', 1) as name
      from pg_db_role_setting as s
      left join pg_roles as r on r.oid = s.setrole
      left join pg_database as d on d.oid = s.setdatabase
      cross join lateral unnest(s.setconfig) as c(setting)
      left join pg_settings as p on p.name = split_part(c.setting, '=', 1)
      where p.context is not null and p.context <> 'user'
        or r.rolname is null and split_part(c.setting, '=', 1) not like '%.%'
          and split_part(c.setting, '=', 1) not in (
            'bytea_output', 'DateStyle', 'default_text_search_config', 'idle_in_transaction_session_timeout',
            'idle_session_timeout', 'IntervalStyle', 'lc_monetary', 'lc_numeric', 'lc_time', 'lock_timeout',
            'maintenance_work_mem', 'random_page_cost', 'search_path', 'statement_timeout', 'TimeZone', 'work_mem')
        or lower(split_part(c.setting, '=', 1)) in ('role', 'session_authorization', 'local_preload_libraries')
    loop
      if item.rolname is null and item.datname is null then
        execute format('alter role all reset %I', item.name);
      elsif item.rolname is null then
        execute format('alter database %I reset %I', item.datname, item.name);
      elsif item.datname is null then
        execute format('alter role %I reset %I', item.rolname, item.name);
      else
        execute format('alter role %I in database %I reset %I', item.rolname, item.datname, item.name);
      end if;
      raise warning 'setting % of role % in database % is gone', item.name, item.rolname, item.datname;
    end loop;
  end
$$;

-- A superuser's names mean the server's own objects, never ones of the tenant.
alter role supabase_admin set search_path = pg_catalog, pg_temp;
alter role supabase_admin set log_statement = 'none';
alter role supabase_admin set statement_timeout = 0;
alter role supabase_admin set default_transaction_read_only = off;
alter role supabase_auth_admin set search_path = auth;
alter role supabase_auth_admin set log_statement = 'none';
alter role supabase_auth_admin set idle_in_transaction_session_timeout = '60s';
alter role supabase_storage_admin set search_path = storage;
alter role supabase_storage_admin set log_statement = 'none';
alter role supabase_functions_admin set search_path = supabase_functions;
alter role supalove_probe set search_path = pg_catalog, pg_temp;
alter role supalove_probe set log_statement = 'none';
alter role supalove_probe set statement_timeout = '5s';
alter role supalove_probe set lock_timeout = '5s';
-- Time limits of requests: the tenant may choose others, so they are set where there are none.
do $$
  declare
    item record;
  begin
    for item in
      select * from (values
        ('anon', 'statement_timeout', '3s'), ('authenticated', 'statement_timeout', '8s'),
        ('authenticator', 'statement_timeout', '8s'), ('authenticator', 'lock_timeout', '8s'),
        ('postgres', 'search_path', '"$user", public, extensions')) as d(role, name, value)
      where not exists (
        select from pg_db_role_setting as s
        cross join lateral unnest(s.setconfig) as c(setting)
        where s.setrole = d.role::regrole and s.setdatabase = 0 and split_part(c.setting, '=', 1) = d.name)
    loop
      if item.name = 'search_path' then
        execute format('alter role %I set search_path = %s', item.role, item.value);
      else
        execute format('alter role %I set %I = %L', item.role, item.name, item.value);
      end if;
    end loop;
  end
$$;

-- The database: the platform's roles get in whatever PUBLIC may.
alter database postgres owner to postgres;
alter database postgres connection limit -1;
alter database postgres allow_connections true;
grant connect on database postgres to supalove_probe, authenticator, supabase_auth_admin, supabase_storage_admin,
  supabase_functions_admin, pgbouncer, supabase_read_only_user, supabase_replication_admin;
grant create on database postgres to supabase_auth_admin, supabase_storage_admin, supabase_functions_admin;
grant all on database postgres to dashboard_user;

revoke all on schema supalove from public, postgres, anon, authenticated, service_role;
-- Schemas of the platform: there, with their owners, usable by the roles of requests.
create schema if not exists extensions authorization postgres;
create schema if not exists auth authorization supabase_admin;
create schema if not exists storage authorization supabase_admin;
create schema if not exists realtime authorization supabase_admin;
create schema if not exists _realtime authorization supabase_admin;
create schema if not exists supabase_functions authorization supabase_functions_admin;
create schema if not exists pgbouncer authorization pgbouncer;
grant usage on schema extensions, auth, storage, realtime, supabase_functions
  to postgres, anon, authenticated, service_role;
do $$
  begin
    -- A tenant may drop it.
    if to_regnamespace('public') is not null then
      grant usage on schema public to postgres, anon, authenticated, service_role;
    end if;
  end
$$;
grant all on schema auth to supabase_auth_admin;
grant all on schema storage to supabase_storage_admin;
-- No schema of a superuser takes objects of others, except the services' own.
do $$
  declare
    item record;
  begin
    for item in
      select n.nspname, g.rolname
      from pg_namespace as n
      cross join lateral aclexplode(n.nspacl) as a
      left join pg_roles as g on g.oid = a.grantee
      join pg_roles as o on o.oid = n.nspowner
      where o.rolsuper and n.nspname not like 'pg\_temp%' and a.privilege_type = 'CREATE'
        and coalesce(not (select s.rolsuper from pg_roles as s where s.oid = a.grantee), true)
        and (n.nspname, coalesce(g.rolname, 'public')) not in (
          ('auth', 'supabase_auth_admin'), ('auth', 'dashboard_user'), ('storage', 'supabase_storage_admin'),
          ('storage', 'dashboard_user'), ('realtime', 'supabase_realtime_admin'), ('public', 'postgres'))
    loop
      execute format('revoke create on schema %I from %s cascade', item.nspname,
        coalesce(quote_ident(item.rolname), 'public'));
      raise warning 'role % could create in schema % and cannot any more', coalesce(item.rolname, 'PUBLIC'), item.nspname;
    end loop;
  end
$$;

-- Tables, views and sequences of superusers: those in the tenant's schemas become the tenant's; the platform's are read
-- where granted and written only as listed.
do $$
  declare
    item record;
  begin
    for item in
      select n.nspname, c.relname
      from pg_class as c
      join pg_namespace as n on n.oid = c.relnamespace
      join pg_roles as o on o.oid = c.relowner
      where o.rolsuper and c.oid >= 16384 and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
        and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'extensions', 'auth', 'storage', 'realtime',
          '_realtime', 'supabase_functions', 'supabase_migrations', 'pgbouncer', 'cron', 'net', 'graphql',
          'graphql_public', 'vault', 'pgsodium', 'pgsodium_masks', 'pgtle', 'supalove')
        and not exists (
          select from pg_depend as d
          where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('e', 'a', 'i'))
    loop
      execute format('alter table %I.%I owner to postgres', item.nspname, item.relname);
      raise warning 'table %.% was a superuser''s and is the tenant''s now', item.nspname, item.relname;
    end loop;
    for item in
      select n.nspname, c.relname, c.relkind, g.rolname, a.privilege_type, a.is_grantable
      from pg_class as c
      join pg_namespace as n on n.oid = c.relnamespace
      cross join lateral aclexplode(c.relacl) as a
      left join pg_roles as g on g.oid = a.grantee
      join pg_roles as o on o.oid = c.relowner
      where o.rolsuper and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
        and n.nspname not like 'pg\_temp\_%' and n.nspname not like 'pg\_toast\_temp\_%'
        and a.privilege_type not in ('SELECT', 'USAGE') and a.grantee <> c.relowner
        and not coalesce(g.rolsuper, false)
        and (format('%s.%s', n.nspname, c.relname), coalesce(g.rolname, 'public'), a.privilege_type)
          not in (select name, grantee, privilege from rules_tables)
    loop
      execute format('revoke %s on %s %I.%I from %s cascade', item.privilege_type,
        case item.relkind when 'S' then 'sequence' else 'table' end, item.nspname, item.relname,
        coalesce(quote_ident(item.rolname), 'public'));
      raise warning 'role % could % on %.% and cannot any more', coalesce(item.rolname, 'PUBLIC'),
        item.privilege_type, item.nspname, item.relname;
    end loop;
    for item in
      select n.nspname, c.relname, t.attname, g.rolname, a.privilege_type
      from pg_attribute as t
      join pg_class as c on c.oid = t.attrelid
      join pg_namespace as n on n.oid = c.relnamespace
      cross join lateral aclexplode(t.attacl) as a
      left join pg_roles as g on g.oid = a.grantee
      join pg_roles as o on o.oid = c.relowner
      where o.rolsuper and c.oid >= 16384 and a.privilege_type <> 'SELECT' and not coalesce(g.rolsuper, false)
    loop
      execute format('revoke %s (%I) on table %I.%I from %s cascade', item.privilege_type, item.attname, item.nspname,
        item.relname, coalesce(quote_ident(item.rolname), 'public'));
    end loop;
  end
$$;

-- Of event triggers, in a schema that is a superuser's. Older releases have them in the tenant's `extensions`, where a
-- tenant may have made others of these names, or members of an extension: those stay.
drop event trigger if exists pgrst_ddl_watch;
drop event trigger if exists pgrst_drop_watch;
drop event trigger if exists issue_pg_net_access;
do $$
  declare
    old record;
  begin
    for old in
      select p.oid::regprocedure::text as name from pg_proc as p
      where p.oid in (to_regprocedure('extensions.pgrst_ddl_watch()'), to_regprocedure('extensions.pgrst_drop_watch()'),
          to_regprocedure('extensions.grant_pg_net_access()'))
        and p.proowner = 10
        and not exists (
          select from pg_depend as d
          where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype in ('e', 'x')
            or d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid)
    loop
      execute format('drop routine %s', old.name);
    end loop;
  end
$$;

-- Functions. What runs with a superuser's rights and is not listed becomes the tenant's; code in C or in the server's
-- own language can only have been made by a superuser, and outside an extension nobody calls it any more.
do $$
  declare
    item record;
  begin
    for item in
      select p.oid, p.oid::regprocedure::text as name, p.prokind, p.prosecdef, l.lanname
      from pg_proc as p
      join pg_language as l on l.oid = p.prolang
      join pg_roles as o on o.oid = p.proowner
      where p.oid >= 16384
        and not exists (
          select from pg_depend as d
          where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
        and (l.lanname in ('c', 'internal')
          or o.rolsuper and p.prosecdef and p.oid::regprocedure::text not in (select name from rules_functions)
          -- Also without a superuser's rights: a superuser's statement could come across it.
          or o.rolsuper and p.pronamespace::regnamespace::text not in ('supalove', 'pgbouncer', 'graphql_public', 'auth',
            'storage', 'realtime', '_realtime', 'extensions', 'pg_temp'))
    loop
      if item.lanname in ('c', 'internal') then
        execute format('alter routine %s owner to supabase_admin', item.name);
        execute format('revoke all on routine %s from public, postgres, anon, authenticated, service_role cascade', item.name);
      else
        execute format('alter routine %s owner to postgres', item.name);
      end if;
      raise warning 'function % ran with rights that no tenant gives', item.name;
    end loop;
    -- Of functions in extensions none runs with a superuser's rights.
    for item in
      select p.oid::regprocedure::text as name from pg_proc as p join pg_roles as o on o.oid = p.proowner
      where p.oid >= 16384 and o.rolsuper and p.prosecdef and p.oid::regprocedure::text not in (select name from rules_functions)
    loop
      execute format('alter routine %s security invoker', item.name);
      raise warning 'function % of an extension ran with a superuser''s rights', item.name;
    end loop;
    -- Languages other than these are a superuser's.
    for item in select lanname from pg_language where lanname not in ('sql', 'plpgsql') loop
      execute format('update pg_language set lanpltrusted = false where lanname = %L', item.lanname);
    end loop;
  end
$$;

-- Bodies of what runs as a superuser, as they are meant to be.
create or replace function pgbouncer.get_auth(p_usename text) returns table (username text, password text)
  language sql stable security definer set search_path = ''
  as $$
    select usename::text, passwd::text
    from pg_catalog.pg_shadow
    where usename = p_usename
      and not usesuper
      and (valuntil is null or valuntil > pg_catalog.now())
  $$;
alter function pgbouncer.get_auth(text) owner to supabase_admin;
revoke all on function pgbouncer.get_auth(text) from public, postgres, anon, authenticated, service_role;
grant usage on schema pgbouncer to pgbouncer;
grant execute on function pgbouncer.get_auth(text) to pgbouncer;

create or replace function supalove.pgrst_ddl_watch() returns event_trigger language plpgsql set search_path = '' as $$
  begin
    if exists (
      select from pg_catalog.pg_event_trigger_ddl_commands() as c
      where c.schema_name is distinct from 'pg_temp' and c.command_tag not like '%STATISTICS%')
    then
      notify pgrst, 'reload schema';
    end if;
  end
$$;
create or replace function supalove.pgrst_drop_watch() returns event_trigger language plpgsql set search_path = '' as $$
  begin
    if exists (select from pg_catalog.pg_event_trigger_dropped_objects() as o where not o.is_temporary) then
      notify pgrst, 'reload schema';
    end if;
  end
$$;
create or replace function supalove.grant_pg_net_access() returns event_trigger
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

alter function supalove.pgrst_ddl_watch() owner to supabase_admin;
alter function supalove.pgrst_drop_watch() owner to supabase_admin;
alter function supalove.grant_pg_net_access() owner to supabase_admin;

-- Jobs: each runs as the role that made it, which is no superuser and none of the platform's, in this database.
do $$
  declare
    jobs bigint;
  begin
    if to_regclass('cron.job') is null then
      create extension pg_cron;
      grant usage on schema cron to postgres with grant option;
      grant select on table cron.job to postgres with grant option;
      grant select, delete on table cron.job_run_details to postgres with grant option;
    end if;
    delete from cron.job as j
    where j.database <> 'postgres'
      or not exists (select from pg_roles as r where r.rolname = j.username and not r.rolsuper)
      or j.username like 'pg\_%' or j.username like 'supabase\_%' or j.username like 'supalove\_%'
      or j.username in ('authenticator', 'anon', 'authenticated', 'pgbouncer', 'dashboard_user');
    get diagnostics jobs = row_count;
    if jobs > 0 then
      raise warning '% jobs of roles that no tenant is are gone', jobs;
    end if;
  end
$$;
do $$
  begin
    -- In an older database a tenant could make a schema of this name.
    if exists (
      select from pg_proc where oid = to_regprocedure('supalove.check_job()') and prorettype <> 'trigger'::regtype)
    then
      drop routine supalove.check_job() cascade;
    end if;
  end
$$;
-- pg_cron writes jobs as the extension's owner, after it has checked that a role which is no superuser names itself. Who
-- else writes the table, by whatever grant, names itself too.
create or replace function supalove.check_job() returns trigger language plpgsql set search_path = '' as $$
  begin
    if new.database <> 'postgres' then
      raise exception 'jobs run in the database postgres' using errcode = 'insufficient_privilege';
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = new.username and not rolsuper)
      or new.username like 'pg\_%' or new.username like 'supabase\_%' or new.username like 'supalove\_%'
      or new.username in ('authenticator', 'anon', 'authenticated', 'pgbouncer', 'dashboard_user')
    then
      raise exception 'no job runs as role %', new.username using errcode = 'insufficient_privilege';
    end if;
    if new.username <> current_user
      and not exists (select from pg_catalog.pg_roles where rolname = current_user and rolsuper)
    then
      raise exception 'a job of role % runs as that role, not as %', current_user, new.username
        using errcode = 'insufficient_privilege';
    end if;
    return null;
  end
$$;
alter function supalove.check_job() owner to supabase_admin;
revoke all on function supalove.check_job() from public;
do $$
  begin
    -- Only if it is not there: this waits for every transaction that has looked at the jobs.
    if not exists (
      select from pg_trigger
      where tgrelid = 'cron.job'::regclass and tgname = 'supalove_check_job' and tgenabled = 'A'
        and tgfoid = 'supalove.check_job()'::regprocedure)
    then
      drop trigger if exists supalove_check_job on cron.job;
      create constraint trigger supalove_check_job after insert or update on cron.job
        not deferrable for each row execute function supalove.check_job();
      alter table cron.job enable always trigger supalove_check_job;
    end if;
  end
$$;
do $$
  declare
    trigger record;
  begin
    for trigger in
      select tgname, tgrelid::regclass::text as relation from pg_trigger
      where tgrelid in ('cron.job'::regclass, 'cron.job_run_details'::regclass) and not tgisinternal
        and tgname not in ('supalove_check_job', 'cron_job_cache_invalidate')
    loop
      execute format('drop trigger %I on %s', trigger.tgname, trigger.relation);
    end loop;
  end
$$;

create event trigger pgrst_ddl_watch on ddl_command_end execute function supalove.pgrst_ddl_watch();
create event trigger pgrst_drop_watch on sql_drop execute function supalove.pgrst_drop_watch();
create event trigger issue_pg_net_access on ddl_command_end when tag in ('CREATE EXTENSION')
  execute function supalove.grant_pg_net_access();
notify pgrst, 'reload schema';
commit;

-- Jobs that began in between.
do $$
  begin
    perform pg_terminate_backend(a.pid)
    from pg_stat_activity as a join pg_roles as r on r.oid = a.usesysid
    where r.rolsuper and a.pid <> pg_backend_pid()
      and a.backend_type !~ '(launcher|autovacuum worker)$';
  end
$$;

-- From here on others get in, and pg_cron begins.
copy (select) to '/var/run/postgresql/supalove-started';
