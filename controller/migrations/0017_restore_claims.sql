-- What agents have claimed to know better than the control database. Each claim counts once: a host that repeats one, or makes
-- them up, cannot undo an operator's confirmation for ever.

CREATE TABLE restore_claims (
    node_id    uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    subject    text NOT NULL,
    claim      bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node_id, subject, claim)
);
COMMENT ON TABLE restore_claims IS 'What agents have that is newer than this database: signs that it was restored from a backup. The newest 1,000 of a node.';
COMMENT ON COLUMN restore_claims.node_id IS 'Whose agent.';
COMMENT ON COLUMN restore_claims.subject IS 'Project ref, or "epoch" for the node''s sessions.';
COMMENT ON COLUMN restore_claims.claim IS 'Generation, or epoch, that the agent has.';
COMMENT ON COLUMN restore_claims.created_at IS 'When it was first heard.';
