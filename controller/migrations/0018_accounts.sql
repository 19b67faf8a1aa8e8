-- What users see of their sessions, and the end of organizations.
ALTER TABLE user_sessions
    ADD COLUMN client text NOT NULL DEFAULT '',
    ADD COLUMN user_agent text NOT NULL DEFAULT '';
COMMENT ON COLUMN user_sessions.client IS 'Client address at the sign-in; empty if unknown.';
COMMENT ON COLUMN user_sessions.user_agent IS 'The client''s user-agent at the sign-in, shortened; empty if unknown.';

CREATE TABLE personal_access_tokens (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name         text NOT NULL,
    token_hash   bytea NOT NULL UNIQUE,
    scopes       text[] NOT NULL CHECK (scopes <@ '{READ,PROJECTS,SECRETS,ORGANIZATIONS,PLATFORM}'),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz
);
CREATE INDEX personal_access_tokens_user ON personal_access_tokens (user_id);
CREATE INDEX personal_access_tokens_end ON personal_access_tokens (expires_at);
COMMENT ON TABLE personal_access_tokens IS 'Bearer tokens of users for programs. A revoked token has no row.';
COMMENT ON COLUMN personal_access_tokens.id IS 'UUIDv7; pat_… on the wire.';
COMMENT ON COLUMN personal_access_tokens.user_id IS 'User as whom it acts.';
COMMENT ON COLUMN personal_access_tokens.name IS 'Name that the user gave it.';
COMMENT ON COLUMN personal_access_tokens.token_hash IS 'SHA-256 of the token.';
COMMENT ON COLUMN personal_access_tokens.scopes IS 'What it may be used for.';
COMMENT ON COLUMN personal_access_tokens.created_at IS 'When it was created.';
COMMENT ON COLUMN personal_access_tokens.expires_at IS 'When it stops working.';
COMMENT ON COLUMN personal_access_tokens.last_used_at IS 'When it was last used, as far as replicas have written it down.';

-- Projects and events of a deleted organization keep their row; nobody finds it by its slug.
ALTER TABLE organizations ADD COLUMN deleted_at timestamptz;
COMMENT ON COLUMN organizations.slug IS 'Readable id, unique. A deleted organization has another one, so that its slug is free.';
COMMENT ON COLUMN organizations.deleted_at IS 'When the organization was deleted; it then has no member and a projects_limit of 0.';
