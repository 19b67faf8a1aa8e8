-- Versions of secrets are generations, and a change can end although a service was not ready before it.
ALTER TABLE project_secrets ALTER COLUMN version TYPE bigint;

ALTER TABLE operations ADD COLUMN red_before text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN operations.red_before IS 'Services that were not ready before a change of settings or secrets and that it does not touch: it ends without them.';

ALTER TABLE function_secrets ADD COLUMN readable boolean NOT NULL DEFAULT false;
COMMENT ON TABLE function_secrets IS 'Secrets and variables of a project''s functions. Two versions only while the newer one is being brought to the functions; then the newer or, if that failed, the older one stays.';
COMMENT ON COLUMN function_secrets.name IS 'Name of the environment variable; of a secret or of a variable, never of both.';
COMMENT ON COLUMN function_secrets.readable IS 'True for a variable, whose value members read; false for a secret. Both are sealed.';
