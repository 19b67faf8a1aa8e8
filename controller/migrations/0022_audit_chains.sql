-- The audit log has a chain for each organization and one for the platform. The chain of before goes on as the platform's: its rows
-- are hashed as they were, because the new columns of a row count only if they are set.
ALTER TABLE audit_log
    ADD COLUMN chain uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    ADD COLUMN credential text CHECK (credential IN ('NONE', 'SESSION', 'PERSONAL_ACCESS_TOKEN', 'NODE', 'SYSTEM')),
    DROP CONSTRAINT audit_log_seq_key;
CREATE UNIQUE INDEX audit_log_places ON audit_log (chain, seq) WHERE seq IS NOT NULL;
CREATE INDEX audit_log_listed ON audit_log (chain, at, id);
COMMENT ON TABLE audit_log IS 'Who did what. Append-only; a background job chains the rows of each organization, and those of the platform, by hash about a second later.';
COMMENT ON COLUMN audit_log.chain IS 'Organization to which the act belongs, and whose chain the row is part of; all zeros: the platform.';
COMMENT ON COLUMN audit_log.credential IS 'What the actor showed: a session, a personal access token, none (e.g. at a sign-in), a node''s certificate, or SYSTEM for jobs. Null in rows from before this column.';
COMMENT ON COLUMN audit_log.seq IS 'Place in its chain; null until the sealer has chained the row.';
COMMENT ON COLUMN audit_log.chain_hash IS 'SHA-256 over the row and the hash of the row before it in its chain.';

CREATE TABLE audit_chains (
    chain      uuid PRIMARY KEY,
    number     bigint NOT NULL UNIQUE CHECK (number > 0),
    chains     bigint NOT NULL CHECK (chains >= 0),
    seq        bigint NOT NULL CHECK (seq >= 0),
    chain_hash bytea NOT NULL,
    at         timestamptz NOT NULL,
    signature  bytea NOT NULL
);
COMMENT ON TABLE audit_chains IS 'The newest place of each chain of audit_log, signed: so nobody takes rows from the end of a chain, or a whole chain.';
COMMENT ON COLUMN audit_chains.chain IS 'Organization of the chain; all zeros: the platform.';
COMMENT ON COLUMN audit_chains.number IS 'Chains are numbered without gaps in the order of their first rows; the platform''s is 1.';
COMMENT ON COLUMN audit_chains.chains IS 'Of the platform''s chain: how many chains there are. 0 for the others.';
COMMENT ON COLUMN audit_chains.seq IS 'Place of the newest chained row; 0 while there is none.';
COMMENT ON COLUMN audit_chains.chain_hash IS 'Chain hash of that row; empty while there is none.';
COMMENT ON COLUMN audit_chains.at IS 'When the sealer signed it.';
COMMENT ON COLUMN audit_chains.signature IS 'Ed25519 signature of the other columns and the fleet id; its key is sealed under the master key.';

ALTER TABLE audit_checkpoints
    ADD COLUMN chain uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    DROP CONSTRAINT audit_checkpoints_pkey,
    ADD PRIMARY KEY (chain, cut, seq);
COMMENT ON TABLE audit_checkpoints IS 'Signed places in the chains of audit_log: the newest row each hour, and each row up to which a chain was cut.';
COMMENT ON COLUMN audit_checkpoints.chain IS 'Organization of the chain; all zeros: the platform.';

-- A controller of before cannot chain rows any more: it would put those of all organizations into one chain.
DROP FUNCTION audit_chain(uuid, bigint, bytea), audit_cut(bigint);

CREATE FUNCTION audit_seal(p_chain uuid, p_ids uuid[], p_seqs bigint[], p_hashes bytea[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_sealed bigint;
BEGIN
    UPDATE public.audit_log l SET seq = s.seq, chain_hash = s.hash
    FROM unnest(p_ids, p_seqs, p_hashes) AS s (id, seq, hash)
    WHERE l.id = s.id AND l.chain = p_chain AND l.seq IS NULL;
    GET DIAGNOSTICS v_sealed = ROW_COUNT;
    RETURN v_sealed;
END $$;
COMMENT ON FUNCTION audit_seal IS 'Chains rows of a chain that are not chained yet; returns how many. Runs as the owner of the log.';

CREATE FUNCTION audit_cut(p_chain uuid, p_seq bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_deleted bigint;
BEGIN
    DELETE FROM public.audit_log WHERE chain = p_chain AND seq <= p_seq;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    DELETE FROM public.audit_checkpoints WHERE chain = p_chain AND seq < p_seq;
    RETURN v_deleted;
END $$;
COMMENT ON FUNCTION audit_cut IS 'Deletes rows of a chain up to this one and the checkpoints before it; triggers refuse rows that are too young or not behind a cut. Runs as the owner of the log.';

REVOKE ALL ON FUNCTION audit_seal, audit_cut FROM PUBLIC;

CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.seq IS NULL AND NEW.seq IS NOT NULL
       AND (NEW.id, NEW.at, NEW.actor, NEW.method, NEW.target, NEW.outcome, NEW.client, NEW.trace_id, NEW.chain)
         = (OLD.id, OLD.at, OLD.actor, OLD.method, OLD.target, OLD.outcome, OLD.client, OLD.trace_id, OLD.chain)
       AND NEW.credential IS NOT DISTINCT FROM OLD.credential THEN
        RETURN NEW;
    END IF;
    -- A plan may keep an organization's rows for a day; the platform's stay for 30.
    IF TG_OP = 'DELETE'
       AND OLD.at < now() - (CASE OLD.chain WHEN '00000000-0000-0000-0000-000000000000' THEN interval '30 days'
           ELSE interval '1 day' END)
       AND OLD.seq <= (SELECT max(c.seq) FROM public.audit_checkpoints c WHERE c.chain = OLD.chain AND c.cut) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only';
END $$;
COMMENT ON FUNCTION audit_is_append_only IS 'Rejects every change except the sealing of a row, and the deletion of a row behind a cut that is older than 30 days, or a day if it is an organization''s.';

CREATE OR REPLACE FUNCTION audit_checkpoint_is_kept() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.seq < (SELECT max(c.seq) FROM public.audit_checkpoints c WHERE c.chain = OLD.chain AND c.cut) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_checkpoints keeps what the log needs';
END $$;

CREATE FUNCTION audit_chain_only_grows() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.chain, NEW.number) = (OLD.chain, OLD.number) AND NEW.seq >= OLD.seq
       AND NEW.chains >= OLD.chains AND (NEW.seq > OLD.seq OR NEW.chain_hash = OLD.chain_hash) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit_chains only grows';
END $$;
COMMENT ON FUNCTION audit_chain_only_grows IS 'Rejects that a chain gets shorter or ends.';
CREATE TRIGGER audit_chains_grow BEFORE UPDATE OR DELETE ON audit_chains FOR EACH ROW EXECUTE FUNCTION audit_chain_only_grows();
CREATE TRIGGER audit_chains_never_truncated BEFORE TRUNCATE ON audit_chains FOR EACH STATEMENT
    EXECUTE FUNCTION audit_is_never_truncated();
