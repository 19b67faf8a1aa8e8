-- The roles of a project. Runs as postgres, which is a superuser until the migrations demote it.
-- Roles that log in get their passwords from the release's 99-roles.sql.

-- Who a request of the API is.
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
-- What the API logs in as, to become one of the three.
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres;

-- The services.
create role supabase_auth_admin login noinherit createrole noreplication;
create role supabase_storage_admin login noinherit createrole noreplication;
grant anon, authenticated, service_role to supabase_storage_admin;
create role supabase_replication_admin login replication;
create role supabase_read_only_user login bypassrls;
grant pg_read_all_data to supabase_read_only_user;
create role pgbouncer login;
create role dashboard_user nologin nosuperuser createdb createrole replication;

grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;

-- A request may not hold the database for long.
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role supabase_auth_admin set idle_in_transaction_session_timeout = '60s';

-- Statements of the services do not belong in the tenant's log.
alter role supabase_admin set log_statement = 'none';
alter role supabase_auth_admin set log_statement = 'none';
alter role supabase_storage_admin set log_statement = 'none';

alter role supabase_auth_admin set search_path = auth;
alter role supabase_storage_admin set search_path = storage;
alter role supabase_admin set search_path = "$user", public, auth, extensions;
alter role postgres set search_path = "$user", public, extensions;
