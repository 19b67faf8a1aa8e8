-- Join tokens can be revoked.

ALTER TABLE join_tokens ADD COLUMN revoked_at timestamptz;
COMMENT ON COLUMN join_tokens.revoked_at IS 'When an operator revoked it; no host joins with it since.';
