-- The rules of a project's database on the official image, brought about at each start by the agent, as supabase_admin
-- over the server's socket, in database postgres. They are those of start.sql as far as they hold there for certain.
-- UNCONFIRMED: this was never run on the image. What it owns beyond its public sources is not known, so functions, tables
-- and event triggers of superusers stay as they are; supautils reserves its roles, extensions and settings.
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

-- A lock for this file that no tenant can take.
create schema if not exists supalove authorization supabase_admin;
alter schema supalove owner to supabase_admin;
create table if not exists supalove.start ();
alter table supalove.start owner to supabase_admin;
begin;
-- One at a time: a first start and an agent, or two agents, do not meet in the middle.
lock table supalove.start in share row exclusive mode;

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

-- Statistics of statements with their texts: the image's first start sets passwords in plain text. The function is made
-- here, because one that is there may be another.
create function pg_temp.forget_statements(oid, oid, bigint) returns void language c
  as '$libdir/pg_stat_statements', 'pg_stat_statements_reset_1_7';
select pg_temp.forget_statements(0, 0, 0) \g /dev/null
drop function pg_temp.forget_statements(oid, oid, bigint);

-- The lists.
create temporary table rules_roles (name text primary key, attributes text not null) on commit drop;
insert into rules_roles values
  -- No replication: its connections copy the whole server, and pg_hba.conf cannot tell them from others.
  ('postgres', 'login inherit createdb createrole noreplication bypassrls'),
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
  ('dashboard_user', 'nologin inherit createdb createrole noreplication nobypassrls'),
  -- Whom the release's probe logs in as. It may nothing but log in.
  ('supalove_probe', 'login noinherit nocreatedb nocreaterole noreplication nobypassrls');

-- Memberships between the platform's roles. The tenant's roles may be members of `lent`, and these of the tenant's.
create temporary table rules_members (role text not null, member text not null) on commit drop;
insert into rules_members values
  ('anon', 'authenticator'), ('authenticated', 'authenticator'), ('service_role', 'authenticator'),
  ('anon', 'postgres'), ('authenticated', 'postgres'), ('service_role', 'postgres'),
  ('anon', 'supabase_storage_admin'), ('authenticated', 'supabase_storage_admin'),
  ('service_role', 'supabase_storage_admin'),
  ('supabase_functions_admin', 'postgres'), ('supabase_realtime_admin', 'postgres'), ('authenticator', 'postgres'),
  ('authenticator', 'supabase_storage_admin'), ('supabase_auth_admin', 'postgres'), ('supabase_storage_admin', 'postgres'),
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
        -- Only those that come with PostgreSQL: which memberships the image itself gives is not known at its tag.
        and r.oid < 16384
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

-- A superuser's names mean the server's own objects, never ones of the tenant, who can make a schema `supabase_admin`
-- and functions in public. realtime names the schema of its own tables itself when it connects.
alter role supabase_admin set search_path = pg_catalog, pg_temp;
alter role supalove_probe set search_path = pg_catalog, pg_temp;
alter role supalove_probe set statement_timeout = '5s';
grant connect on database postgres to supalove_probe, authenticator, supabase_auth_admin, supabase_storage_admin,
  supabase_functions_admin, pgbouncer;

-- Limits that a superuser sets and a tenant cannot raise; the image's configuration file has none.
alter role postgres connection limit 50;
alter role postgres set temp_file_limit = '1GB';

-- Jobs: each runs as the role that made it, which is no superuser and none of the platform's, in this database.
do $$
  declare
    jobs bigint;
    other record;
  begin
    -- There the tenant makes the extension, if it wants it; the trigger comes at the next start. Until then a job of
    -- another role cannot log in: pg_hba.conf trusts postgres only.
    if to_regclass('cron.job') is null then
      return;
    end if;
    -- Triggers of others must not run with a superuser's rights.
    for other in
      select tgname from pg_trigger
      where tgrelid = 'cron.job'::regclass and not tgisinternal
        and tgname not in ('supalove_check_job', 'cron_job_cache_invalidate')
    loop
      execute format('drop trigger %I on cron.job', other.tgname);
    end loop;
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
revoke all on schema supalove from public;
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
    if to_regclass('cron.job') is not null then
      drop trigger if exists supalove_check_job on cron.job;
      create constraint trigger supalove_check_job after insert or update on cron.job
        not deferrable for each row execute function supalove.check_job();
      alter table cron.job enable always trigger supalove_check_job;
    end if;
  end
$$;
commit;
