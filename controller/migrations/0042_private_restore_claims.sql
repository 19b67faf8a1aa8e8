-- What a host of a customer claims holds back the purges of its own cluster only: its root can make the agent say anything.
ALTER TABLE restore_claims
    ADD COLUMN cluster_id uuid REFERENCES clusters (id),
    ADD COLUMN confirmed_at timestamptz;
COMMENT ON COLUMN restore_claims.cluster_id IS
    'The private cluster of the node: only projects in it wait for the confirmation. NULL for nodes of shared clusters, whose claims hold everywhere (platform.restore_seen_at).';
COMMENT ON COLUMN restore_claims.confirmed_at IS 'When an operator confirmed a claim of a private cluster.';
CREATE INDEX restore_claims_unconfirmed ON restore_claims (cluster_id) WHERE cluster_id IS NOT NULL AND confirmed_at IS NULL;
