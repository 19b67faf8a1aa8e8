-- Sealed values are as random bytes, so the server would only try in vain to compress them.

ALTER TABLE project_specs ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE project_secrets ALTER COLUMN sealed SET STORAGE EXTERNAL;
