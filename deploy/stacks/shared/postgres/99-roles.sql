-- Passwords of the roles that log in. Runs as postgres in the first start of the database.
-- They come from the environment, so they are on no command line and in no file.
\getenv internal POSTGRES_PASSWORD
\getenv tenant SUPALOVE_TENANT_PASSWORD
\if :{?tenant}
\else
  do $$ begin raise 'SUPALOVE_TENANT_PASSWORD is not set'; end $$;
\endif

-- A statement that fails must not bring its password into the log.
set log_statement = 'none';
set log_min_error_statement = panic;
set log_min_duration_statement = -1;

alter role authenticator password :'internal';
alter role pgbouncer password :'internal';
alter role supabase_auth_admin password :'internal';
alter role supabase_functions_admin password :'internal';
alter role supabase_storage_admin password :'internal';
-- The tenant's own.
alter role postgres password :'tenant';
