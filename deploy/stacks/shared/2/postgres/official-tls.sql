-- The certificate of the database: run at each start, and when it has changed, as supabase_admin over the server's socket.
-- The server's own user writes the file that has key and certificate, since it takes a key from no other but root. At once
-- whole under its name; UNCONFIRMED on the official image.
\set ON_ERROR_STOP on
set search_path = pg_catalog, pg_temp;
set role none;
-- A statement that fails must not bring the key into the log, nor one that succeeds.
set log_statement = 'none';
set log_min_error_statement = panic;
set log_min_duration_statement = -1;
do $$
  begin
    -- Where pgaudit is loaded it would log the statement.
    perform set_config('pgaudit.log', 'none', false);
  end
$$;
copy (select line from pg_catalog.string_to_table($pem$
{{ secrets.db_certificate_key }}
{{ secrets.db_certificate }}
$pem$, E'\n') as line)
  to program 'umask 077 && cat > supalove-tls.new && mv -f supalove-tls.new supalove-tls.pem';
alter system set ssl_cert_file = 'supalove-tls.pem';
alter system set ssl_key_file = 'supalove-tls.pem';
alter system set ssl_min_protocol_version = 'TLSv1.2';
alter system set ssl = on;
select pg_catalog.pg_reload_conf() \g /dev/null
