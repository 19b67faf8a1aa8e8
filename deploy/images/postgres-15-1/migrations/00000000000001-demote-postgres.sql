-- From here on the tenant's role is no superuser. Runs as supabase_admin.
alter role postgres nosuperuser createdb createrole login replication bypassrls;

-- In PostgreSQL 15 a role with CREATEROLE can make itself a member of every role that is no superuser,
-- also of those that run programs or touch files as the server does; a program could then log in over
-- loopback as a superuser. Marked as superusers, which members do not inherit, they can be granted by a
-- superuser only. ALTER ROLE refuses predefined roles, hence the catalog.
update pg_catalog.pg_authid set rolsuper = true
where rolname in ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files');
