-- From here on the tenant's role is no superuser. Runs as supabase_admin. What it may reach beyond its own objects is in
-- the release's start.sql; supalove_guard keeps it from the platform's roles.
alter role postgres nosuperuser createdb createrole login replication bypassrls;
