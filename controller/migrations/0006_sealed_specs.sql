-- Sealed values look like random bytes, so compression by the server would only waste time.

ALTER TABLE project_specs ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE project_secrets ALTER COLUMN sealed SET STORAGE EXTERNAL;
