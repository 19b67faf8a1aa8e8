-- Sign-ins are families of numbered refresh tokens. The audit log resists the role that writes it, and is cut only behind signed
-- checkpoints. What grows has an end. Private clusters have an owner.

-- A refresh token is the session's id, a number and a MAC over both, so the row of the session knows every token of its family.
ALTER TABLE user_sessions
    ADD COLUMN refresh_number bigint NOT NULL DEFAULT 0 CHECK (refresh_number >= 0),
    ADD COLUMN refreshed_at timestamptz NOT NULL DEFAULT now(),
    ALTER COLUMN refresh_hash DROP NOT NULL,
    DROP COLUMN previous_hash;
CREATE INDEX user_sessions_end ON user_sessions (expires_at);
COMMENT ON TABLE user_sessions IS 'Sessions of users: a family of refresh tokens for each sign-in. Each token works once; a later use of any old one ends the session.';
COMMENT ON COLUMN user_sessions.refresh_hash IS 'SHA-256 of token 0 if a controller before numbered tokens issued it; null for newer sessions.';
COMMENT ON COLUMN user_sessions.refresh_number IS 'Number of the refresh token that works; those with lower numbers were used.';
COMMENT ON COLUMN user_sessions.refreshed_at IS 'When the token with this number was issued. For a few seconds the one before it gets the same answer.';
COMMENT ON COLUMN user_sessions.expires_at IS 'When the refresh token expires: 30 days after it was issued, at most 90 days after the sign-in.';
COMMENT ON COLUMN user_sessions.ended_at IS 'When the user signed out, or when the use of an old refresh token ended the session.';

CREATE TABLE audit_checkpoints (
    cut        boolean NOT NULL,
    seq        bigint NOT NULL,
    chain_hash bytea NOT NULL,
    at         timestamptz NOT NULL,
    signature  bytea NOT NULL,
    PRIMARY KEY (cut, seq)
);
COMMENT ON TABLE audit_checkpoints IS 'Signed places in the chain of audit_log: the newest row each hour, and each row up to which the log was cut.';
COMMENT ON COLUMN audit_checkpoints.cut IS 'True if the rows up to this one were deleted because they were older than the retention.';
COMMENT ON COLUMN audit_checkpoints.seq IS 'Place in the chain.';
COMMENT ON COLUMN audit_checkpoints.chain_hash IS 'Chain hash of that row.';
COMMENT ON COLUMN audit_checkpoints.at IS 'When the controller signed it.';
COMMENT ON COLUMN audit_checkpoints.signature IS 'Ed25519 signature of the other columns and the fleet id; its key is sealed under the master key.';

CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.seq IS NULL AND NEW.seq IS NOT NULL
       AND (NEW.id, NEW.at, NEW.actor, NEW.method, NEW.target, NEW.outcome, NEW.client, NEW.trace_id)
         = (OLD.id, OLD.at, OLD.actor, OLD.method, OLD.target, OLD.outcome, OLD.client, OLD.trace_id) THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '30 days'
       AND OLD.seq <= (SELECT max(c.seq) FROM audit_checkpoints c WHERE c.cut) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only';
END $$;
COMMENT ON FUNCTION audit_is_append_only IS 'Rejects every change except the sealing of a row, and the deletion of a row older than 30 days behind a cut.';

CREATE FUNCTION audit_is_never_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
COMMENT ON FUNCTION audit_is_never_truncated IS 'Rejects the statement.';
CREATE TRIGGER audit_never_truncated BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION audit_is_never_truncated();
CREATE TRIGGER audit_checkpoints_unchanged BEFORE UPDATE OR TRUNCATE ON audit_checkpoints FOR EACH STATEMENT
    EXECUTE FUNCTION audit_is_never_truncated();

CREATE FUNCTION audit_checkpoint_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.seq < (SELECT max(c.seq) FROM audit_checkpoints c WHERE c.cut) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_checkpoints keeps what the log needs';
END $$;
COMMENT ON FUNCTION audit_checkpoint_is_kept IS 'Rejects the deletion of a checkpoint of rows that audit_log still has, and of the newest cut.';
CREATE TRIGGER audit_checkpoint_kept BEFORE DELETE ON audit_checkpoints FOR EACH ROW EXECUTE FUNCTION audit_checkpoint_is_kept();

CREATE TABLE refused_calls (
    minute  timestamptz NOT NULL,
    method  text NOT NULL,
    reason  text NOT NULL,
    client  text NOT NULL,
    calls   bigint NOT NULL CHECK (calls > 0),
    PRIMARY KEY (minute, method, reason, client)
);
COMMENT ON TABLE refused_calls IS 'Refused calls of callers who are not signed in, counted: nobody fills the audit log from outside.';
COMMENT ON COLUMN refused_calls.minute IS 'Minute in which they were refused.';
COMMENT ON COLUMN refused_calls.method IS 'RPC that was called.';
COMMENT ON COLUMN refused_calls.reason IS 'Reason of the refusal, or its gRPC code.';
COMMENT ON COLUMN refused_calls.client IS 'Network of the client, /24 or /48; empty for all others of the minute if there were too many.';
COMMENT ON COLUMN refused_calls.calls IS 'How many.';

-- A project keeps its newest 1,000 events. Deleting every hundredth time keeps the cost of an event the same.
CREATE OR REPLACE FUNCTION append_event(p_ref text, p_type text, p_message text, p_service text, p_percent integer, p_operation uuid)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_seq bigint;
    v_state text;
BEGIN
    UPDATE projects SET event_seq = event_seq + 1 WHERE ref = p_ref RETURNING event_seq, state INTO v_seq, v_state;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO project_events (project_ref, seq, type, message, service, percent, state, operation_id)
    VALUES (p_ref, v_seq, p_type, p_message, p_service, p_percent, v_state, p_operation);
    IF v_seq % 100 = 0 THEN
        DELETE FROM project_events WHERE project_ref = p_ref AND seq <= v_seq - 1000;
    END IF;
    RETURN v_seq;
END $$;
COMMENT ON FUNCTION append_event IS 'Appends an event with the next sequence number of its project, and deletes events older than the newest 1,000.';
COMMENT ON TABLE project_events IS 'Newest events of projects, numbered without gaps by a counter in the project''s row: at most 1,100 for each project.';

CREATE INDEX projects_removed ON projects (removed_at) WHERE removed_at IS NOT NULL;
CREATE INDEX certificates_end ON certificates (not_after);
COMMENT ON COLUMN projects.ref IS 'Id of the project, 20 random lower-case letters (94 bits), so that no ref is used twice. A removed project''s row stays for 90 days.';

ALTER TABLE clusters ADD COLUMN organization_id uuid REFERENCES organizations,
    ADD CONSTRAINT clusters_owner CHECK (kind = 'PRIVATE' OR organization_id IS NULL);
COMMENT ON COLUMN clusters.organization_id IS 'Organization whose projects a private cluster takes; null for shared clusters. A private cluster without an owner takes none.';
