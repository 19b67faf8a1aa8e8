-- Join tokens can be revoked.

ALTER TABLE join_tokens ADD COLUMN revoked_at timestamptz;
COMMENT ON COLUMN join_tokens.revoked_at IS 'When an operator revoked the token; null if nobody did.';
