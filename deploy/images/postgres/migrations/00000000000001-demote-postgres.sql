-- From here on the tenant's role is no superuser. Runs as supabase_admin.
alter role postgres nosuperuser createdb createrole login replication bypassrls;
