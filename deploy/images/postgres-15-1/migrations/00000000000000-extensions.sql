-- Extensions whose objects must belong to a superuser. Runs as supabase_admin.

-- Everyone with pg_monitor may read the statistics.
create extension pg_stat_statements with schema extensions;

-- Jobs are inserted as the extension's owner, so postgres cannot be it. The job table stays read-only for
-- postgres: writing to it would let a job run as any role.
create extension pg_cron;
grant usage on schema cron to postgres with grant option;
grant select on table cron.job to postgres with grant option;
grant select, delete on table cron.job_run_details to postgres with grant option;
