-- Runs as supabase_admin, after all others. The agent throws away what a first start left that died before this: the
-- official image would start a server on it. The folder is where the image keeps Vault's root key, so it can be written.
copy (select now()) to '/etc/postgresql-custom/supalove-first-start-done';
