-- Certificates of the fleet: replaceable roots, revocation of nodes, and detection of duplicate identities.

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
-- Deferrable constraints instead of unique indexes, so that one statement can swap the states of two roots.
ALTER TABLE authorities
    ADD CONSTRAINT authorities_one_signing EXCLUDE USING btree (state WITH =) WHERE (state = 'SIGNING') DEFERRABLE INITIALLY IMMEDIATE,
    ADD CONSTRAINT authorities_one_other EXCLUDE USING btree ((state <> 'SIGNING') WITH =) WHERE (state IN ('NEXT', 'OLD')) DEFERRABLE INITIALLY IMMEDIATE;
COMMENT ON TABLE authorities IS 'Root certificates of the fleet: one signs, and during a replacement one more is trusted.';
COMMENT ON COLUMN authorities.id IS 'UUIDv7; aut_… on the wire.';
COMMENT ON COLUMN authorities.ca_sha256 IS 'SHA-256 of the certificate (DER); join tokens pin it.';
COMMENT ON COLUMN authorities.certificate_pem IS 'The root certificate; public.';
COMMENT ON COLUMN authorities.sealed_key IS 'Sealed private key, PKCS#8 PEM; associated data: authority, id, key. Null once retired.';
COMMENT ON COLUMN authorities.state IS 'NEXT and OLD are trusted, SIGNING also signs, RETIRED is neither.';
COMMENT ON COLUMN authorities.expires_at IS 'When the root expires.';
COMMENT ON COLUMN authorities.created_at IS 'When the operator created the root.';

CREATE TABLE used_recovery_nonces (
    nonce_sha256 bytea PRIMARY KEY,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX used_recovery_nonces_expiry ON used_recovery_nonces (expires_at);
COMMENT ON TABLE used_recovery_nonces IS 'Nonces with which a node has recovered; each works once. Kept until they expire.';
COMMENT ON COLUMN used_recovery_nonces.nonce_sha256 IS 'SHA-256 of the nonce.';
COMMENT ON COLUMN used_recovery_nonces.expires_at IS 'When the nonce expires anyway; the row can then be deleted.';

ALTER TABLE certificates ADD COLUMN ca_sha256 bytea;
COMMENT ON COLUMN certificates.ca_sha256 IS 'SHA-256 of the root that signed it; the first start with this column sets it for old rows.';

ALTER TABLE nodes
    ADD COLUMN revoked_at timestamptz,
    ADD COLUMN trusted_ca text[] NOT NULL DEFAULT '{}',
    ADD COLUMN agent_run_id text NOT NULL DEFAULT '',
    ADD COLUMN greeted_epoch bigint NOT NULL DEFAULT 0,
    ADD COLUMN greeted_at timestamptz,
    ADD COLUMN duplicate_at timestamptz,
    ADD COLUMN duplicate_detail text NOT NULL DEFAULT '';
COMMENT ON COLUMN nodes.revoked_at IS 'When the operator revoked the node for good; null if nobody did.';
COMMENT ON COLUMN nodes.trusted_ca IS 'SHA-256 (hex) of the roots that the agent reports as trusted.';
COMMENT ON COLUMN nodes.agent_run_id IS 'Run id of the agent at the last Hello.';
COMMENT ON COLUMN nodes.greeted_epoch IS 'Epoch of the newest session whose Hello succeeded; reports of older sessions are refused.';
COMMENT ON COLUMN nodes.greeted_at IS 'When that Hello succeeded.';
COMMENT ON COLUMN nodes.duplicate_at IS 'When a controller last saw two live agents with this identity.';
COMMENT ON COLUMN nodes.duplicate_detail IS 'Boot ids of the two agents, for people.';
