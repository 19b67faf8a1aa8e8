-- The audit log can belong to another role than the one that the controller runs as. What the controller changes in it beyond
-- new rows goes through functions that run as the owner. And where nodes dialled from.

CREATE FUNCTION audit_chain(p_id uuid, p_seq bigint, p_hash bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE public.audit_log SET seq = p_seq, chain_hash = p_hash WHERE id = p_id AND seq IS NULL;
END $$;
COMMENT ON FUNCTION audit_chain IS 'Chains a row that is not chained yet. Runs as the owner of the log.';

CREATE FUNCTION audit_cut(p_seq bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_deleted bigint;
BEGIN
    DELETE FROM public.audit_log WHERE seq <= p_seq;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    DELETE FROM public.audit_checkpoints WHERE seq < p_seq;
    RETURN v_deleted;
END $$;
COMMENT ON FUNCTION audit_cut IS 'Deletes rows up to this one and the checkpoints before it; triggers refuse rows that are not 30 days old or not behind a cut. Runs as the owner of the log.';

REVOKE ALL ON FUNCTION audit_chain, audit_cut FROM PUBLIC;

-- The triggers' functions name the tables with their schema, so that no search_path leads them to others.
CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.seq IS NULL AND NEW.seq IS NOT NULL
       AND (NEW.id, NEW.at, NEW.actor, NEW.method, NEW.target, NEW.outcome, NEW.client, NEW.trace_id)
         = (OLD.id, OLD.at, OLD.actor, OLD.method, OLD.target, OLD.outcome, OLD.client, OLD.trace_id) THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.at < now() - interval '30 days'
       AND OLD.seq <= (SELECT max(c.seq) FROM public.audit_checkpoints c WHERE c.cut) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only';
END $$;
COMMENT ON FUNCTION audit_is_append_only IS 'Rejects every change except the sealing of a row, and the deletion of a row older than 30 days behind a cut.';

CREATE OR REPLACE FUNCTION audit_checkpoint_is_kept() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.seq < (SELECT max(c.seq) FROM public.audit_checkpoints c WHERE c.cut) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_checkpoints keeps what the log needs';
END $$;
COMMENT ON FUNCTION audit_checkpoint_is_kept IS 'Rejects the deletion of a checkpoint of rows that audit_log still has, and of the newest cut.';

ALTER TABLE nodes ADD COLUMN dialled_from inet;
COMMENT ON COLUMN nodes.dialled_from IS 'Address from which the agent opened its newest session; connections from there have a share of the node port of their own.';
