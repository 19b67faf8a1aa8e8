-- The server reads its certificate again: new connections get the new one, open ones stay. Run when the certificate has
-- changed, as supabase_admin over the server's socket.
select pg_catalog.pg_reload_conf() \g /dev/null
