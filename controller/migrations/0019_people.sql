-- Sign-up, password reset, change of e-mail address, invitations; limits of how often; keys of access tokens.
CREATE TABLE account_links (
    id         uuid PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('SIGN_UP', 'RESET_PASSWORD', 'CHANGE_EMAIL')),
    user_id    uuid REFERENCES users ON DELETE CASCADE,
    email      text NOT NULL CHECK (email = lower(email)),
    token_hash bytea NOT NULL UNIQUE,
    session_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CHECK ((kind = 'SIGN_UP') = (user_id IS NULL))
);
CREATE INDEX account_links_user ON account_links (user_id);
CREATE INDEX account_links_end ON account_links (expires_at);
COMMENT ON TABLE account_links IS 'Links in mails that change an account. A used link has no row.';
COMMENT ON COLUMN account_links.id IS 'UUIDv7.';
COMMENT ON COLUMN account_links.kind IS 'What the link does.';
COMMENT ON COLUMN account_links.user_id IS 'Whose account; null before there is one.';
COMMENT ON COLUMN account_links.email IS 'Address that the mail went to, lower case.';
COMMENT ON COLUMN account_links.token_hash IS 'SHA-256 of the token in the link.';
COMMENT ON COLUMN account_links.session_id IS 'Session that requested it and that goes on when it is used; null if none.';
COMMENT ON COLUMN account_links.created_at IS 'When it was requested.';
COMMENT ON COLUMN account_links.expires_at IS 'When it stops working.';

ALTER TABLE users
    ADD COLUMN email_verified_at timestamptz,
    ADD COLUMN deleted_at timestamptz;
COMMENT ON COLUMN users.email IS 'Address, lower case. A deleted account has another one, so that its address is free.';
COMMENT ON COLUMN users.email_verified_at IS 'When the user showed that mail to the address arrives; null if never.';
COMMENT ON COLUMN users.deleted_at IS 'When the account was deleted; its row then names nobody and cannot sign in.';

CREATE TABLE invitations (
    id              uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    email           text NOT NULL CHECK (email = lower(email)),
    role            text NOT NULL CHECK (role IN ('OWNER', 'ADMINISTRATOR', 'DEVELOPER', 'READ_ONLY')),
    token_hash      bytea NOT NULL UNIQUE,
    mailed          boolean NOT NULL,
    invited_by      uuid NOT NULL REFERENCES users,
    created_at      timestamptz NOT NULL DEFAULT now(),
    sent_at         timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    UNIQUE (organization_id, email)
);
CREATE INDEX invitations_end ON invitations (expires_at);
COMMENT ON TABLE invitations IS 'People who may become members. An accepted or revoked invitation has no row.';
COMMENT ON COLUMN invitations.id IS 'UUIDv7; inv_… on the wire.';
COMMENT ON COLUMN invitations.organization_id IS 'Where to.';
COMMENT ON COLUMN invitations.email IS 'Address of the account that may accept it, lower case.';
COMMENT ON COLUMN invitations.role IS 'Role of the new member.';
COMMENT ON COLUMN invitations.token_hash IS 'SHA-256 of the token in the newest link.';
COMMENT ON COLUMN invitations.mailed IS 'The link went to the address; else it was shown to the inviter, and proves nothing about the address.';
COMMENT ON COLUMN invitations.invited_by IS 'Who invited.';
COMMENT ON COLUMN invitations.created_at IS 'When it was created.';
COMMENT ON COLUMN invitations.sent_at IS 'When the newest link was issued.';
COMMENT ON COLUMN invitations.expires_at IS 'When the newest link stops working.';

CREATE TABLE rate_limits (
    kind       text NOT NULL,
    key        bytea NOT NULL,
    drained_at timestamptz NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX rate_limits_end ON rate_limits (drained_at);
COMMENT ON TABLE rate_limits IS 'How often somebody has acted, as leaky buckets (generic cell rate algorithm). An empty bucket has no row.';
COMMENT ON COLUMN rate_limits.kind IS 'What is limited.';
COMMENT ON COLUMN rate_limits.key IS 'SHA-256 of whom: an address, an account, or both.';
COMMENT ON COLUMN rate_limits.drained_at IS 'When the bucket is empty again.';

CREATE TABLE signing_keys (
    id         text PRIMARY KEY,
    sealed     bytea NOT NULL,
    public_key bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    signs_at   timestamptz NOT NULL,
    retires_at timestamptz
);
COMMENT ON TABLE signing_keys IS 'Ed25519 keys of access tokens. Of those that may sign, the one with the newest signs_at does.';
COMMENT ON COLUMN signing_keys.id IS 'kid of the tokens: the key''s thumbprint (RFC 7638).';
COMMENT ON COLUMN signing_keys.sealed IS 'Private key, PKCS #8, sealed by the vault.';
COMMENT ON COLUMN signing_keys.public_key IS 'Public key, 32 bytes.';
COMMENT ON COLUMN signing_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN signing_keys.signs_at IS 'When it begins to sign; until then every replica and every reader of the key set learns it.';
COMMENT ON COLUMN signing_keys.retires_at IS 'When its tokens stop working and the row goes; null while it signs or will.';

-- Keys have rows of their own now.
DELETE FROM platform_secrets WHERE name = 'token-signing-key';
