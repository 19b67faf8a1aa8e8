-- The life of the fleet's certificates: roots that can be replaced, nodes that can be locked out, identities in two places.

CREATE TABLE authorities (
    id              uuid PRIMARY KEY,
    ca_sha256       bytea NOT NULL UNIQUE CHECK (length(ca_sha256) = 32),
    certificate_pem text NOT NULL,
    sealed_key      bytea,
    state           text NOT NULL CHECK (state IN ('NEXT', 'SIGNING', 'OLD', 'RETIRED')),
    expires_at      timestamptz NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CHECK ((sealed_key IS NULL) = (state = 'RETIRED'))
);
-- Constraints, since these can wait for the end of the statement in which two roots change places.
ALTER TABLE authorities
    ADD CONSTRAINT authorities_one_signing EXCLUDE USING btree (state WITH =) WHERE (state = 'SIGNING') DEFERRABLE INITIALLY IMMEDIATE,
    ADD CONSTRAINT authorities_one_other EXCLUDE USING btree ((state <> 'SIGNING') WITH =) WHERE (state IN ('NEXT', 'OLD')) DEFERRABLE INITIALLY IMMEDIATE;
COMMENT ON TABLE authorities IS 'Roots of the fleet: one signs; while it is being replaced one more is trusted.';
COMMENT ON COLUMN authorities.id IS 'UUIDv7; aut_… on the wire.';
COMMENT ON COLUMN authorities.ca_sha256 IS 'SHA-256 of the certificate (DER); join tokens pin it.';
COMMENT ON COLUMN authorities.certificate_pem IS 'The root certificate; public.';
COMMENT ON COLUMN authorities.sealed_key IS 'Sealed private key, PKCS#8 PEM; associated data: authority, id, key. Gone when retired.';
COMMENT ON COLUMN authorities.state IS 'NEXT and OLD are trusted, SIGNING also signs, RETIRED is neither.';
COMMENT ON COLUMN authorities.expires_at IS 'End of its life.';
COMMENT ON COLUMN authorities.created_at IS 'When it was made.';

CREATE TABLE used_recovery_nonces (
    nonce_sha256 bytea PRIMARY KEY,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX used_recovery_nonces_expiry ON used_recovery_nonces (expires_at);
COMMENT ON TABLE used_recovery_nonces IS 'Nonces with which a node has recovered; each works once. Kept until they expire.';
COMMENT ON COLUMN used_recovery_nonces.nonce_sha256 IS 'SHA-256 of the nonce.';
COMMENT ON COLUMN used_recovery_nonces.expires_at IS 'When it would stop working anyway.';

ALTER TABLE certificates ADD COLUMN ca_sha256 bytea;
COMMENT ON COLUMN certificates.ca_sha256 IS 'Root that signed it; set for all rows at the first start with this column.';

ALTER TABLE nodes
    ADD COLUMN revoked_at timestamptz,
    ADD COLUMN trusted_ca text[] NOT NULL DEFAULT '{}',
    ADD COLUMN agent_run_id text NOT NULL DEFAULT '',
    ADD COLUMN greeted_epoch bigint NOT NULL DEFAULT 0,
    ADD COLUMN greeted_at timestamptz,
    ADD COLUMN duplicate_at timestamptz,
    ADD COLUMN duplicate_detail text NOT NULL DEFAULT '';
COMMENT ON COLUMN nodes.revoked_at IS 'When it was locked out for good; null if it was not.';
COMMENT ON COLUMN nodes.trusted_ca IS 'SHA-256 (hex) of the roots that the agent says it trusts.';
COMMENT ON COLUMN nodes.agent_run_id IS 'Run of the agent at the last Hello.';
COMMENT ON COLUMN nodes.greeted_epoch IS 'Newest session whose Hello was answered; fences what older ones report.';
COMMENT ON COLUMN nodes.greeted_at IS 'When that was.';
COMMENT ON COLUMN nodes.duplicate_at IS 'When two living agents were last seen with this identity.';
COMMENT ON COLUMN nodes.duplicate_detail IS 'Which two, for people.';
