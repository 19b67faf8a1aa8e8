-- Private schema of the realtime service, whose own migrations expect it. Runs as supabase_admin.
create schema if not exists _realtime;
alter schema _realtime owner to supabase_admin;
