-- The master key can be replaced while the platform runs: which keys there are, and what each replica knows of them.
CREATE TABLE master_keys (
    id         text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{16}$'),
    state      text NOT NULL CHECK (state IN ('NEXT', 'CURRENT', 'PREVIOUS', 'RETIRED')),
    first      boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    current_at timestamptz,
    retired_at timestamptz
);
CREATE UNIQUE INDEX master_keys_one_of_each ON master_keys (state) WHERE state <> 'RETIRED';
CREATE UNIQUE INDEX master_keys_first ON master_keys (first) WHERE first;
COMMENT ON TABLE master_keys IS 'The master keys of this installation, without the keys themselves.';
COMMENT ON COLUMN master_keys.id IS 'First 8 bytes of a SHA-256 of the key, in hexadecimal; sealed values name the key by it.';
COMMENT ON COLUMN master_keys.state IS 'NEXT until every replica knows the key; CURRENT seals new values; PREVIOUS opens those that are not wrapped anew yet; RETIRED wraps none.';
COMMENT ON COLUMN master_keys.first IS 'True for the key under which values are sealed that name no key, from before they did.';
COMMENT ON COLUMN master_keys.created_at IS 'When a controller first used it.';
COMMENT ON COLUMN master_keys.current_at IS 'When it became the key that seals; null for the next one.';
COMMENT ON COLUMN master_keys.retired_at IS 'When no value was left under it.';

ALTER TABLE controllers
    ADD COLUMN master_keys text[],
    ADD COLUMN sealing_key text;
COMMENT ON COLUMN controllers.master_keys IS 'Ids of the master keys that this replica was started with; null for a version that knows no ids.';
COMMENT ON COLUMN controllers.sealing_key IS 'Id of the master key under which this replica seals new values.';
