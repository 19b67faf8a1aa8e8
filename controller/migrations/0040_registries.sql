-- Credentials with which the nodes of a cluster pull images from registries that ask for them.
CREATE TABLE registry_credentials (
    cluster_id uuid NOT NULL REFERENCES clusters ON DELETE CASCADE,
    registry   text NOT NULL CHECK (length(registry) BETWEEN 1 AND 260 AND registry = lower(registry)),
    username   text NOT NULL CHECK (length(username) BETWEEN 1 AND 256),
    sealed     bytea NOT NULL,
    set_by     uuid NOT NULL,
    set_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster_id, registry)
);
COMMENT ON TABLE registry_credentials IS 'Credentials of clusters for registries. A node gets them for one pull; they are in no specification.';
COMMENT ON COLUMN registry_credentials.cluster_id IS 'The cluster whose nodes use them. When it is deleted they go at once.';
COMMENT ON COLUMN registry_credentials.registry IS 'Host of the registry as images name it, with its port if they name one; docker.io for images without a host.';
COMMENT ON COLUMN registry_credentials.username IS 'Name that the registry knows.';
COMMENT ON COLUMN registry_credentials.sealed IS 'Password or token, sealed by the vault for this cluster and registry.';
COMMENT ON COLUMN registry_credentials.set_by IS 'User who set them. The user may be gone.';
COMMENT ON COLUMN registry_credentials.set_at IS 'When they were set.';
CREATE TRIGGER vault_key_of_sealed BEFORE INSERT OR UPDATE OF sealed ON registry_credentials FOR EACH ROW
    EXECUTE FUNCTION vault_key_is_in_use('sealed');
