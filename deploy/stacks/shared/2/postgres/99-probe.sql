-- Whom the release's probe logs in as, from the first start on; start.sql keeps it. Runs as supabase_admin.
\getenv internal POSTGRES_PASSWORD
set log_statement = 'none';
set log_min_error_statement = panic;
create role supalove_probe login noinherit connection limit 5 password :'internal';
