-- The audit log keeps watch over itself: digests of all chains, decisions on how long rows are kept, and notes of breaks. And a
-- master key is retired only when nobody can write a value under it any more.
-- First, in the order in which a change of a project writes them: the triggers below lock them one after the other.
LOCK TABLE project_settings, function_secrets, project_secrets, project_specs, project_upgrades IN SHARE ROW EXCLUSIVE MODE;

CREATE FUNCTION audit_never_changes() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
COMMENT ON FUNCTION audit_never_changes IS 'Rejects every change of a row.';

CREATE TABLE audit_digests (
    digest    uuid NOT NULL,
    part      integer NOT NULL CHECK (part >= 0),
    parts     integer NOT NULL CHECK (parts > part),
    at        timestamptz NOT NULL DEFAULT now(),
    content   text NOT NULL,
    signature bytea NOT NULL,
    PRIMARY KEY (digest, part)
);
CREATE INDEX audit_digests_at ON audit_digests (at);
COMMENT ON TABLE audit_digests IS 'Hourly lists of all chains of audit_log with their newest places; a row of the platform''s chain has the hash of each list. The newest ones stay.';
COMMENT ON COLUMN audit_digests.digest IS 'The digest; the target of its row in audit_log begins with it.';
COMMENT ON COLUMN audit_digests.part IS 'Number of this part of the list, from 0.';
COMMENT ON COLUMN audit_digests.parts IS 'How many parts the digest has.';
COMMENT ON COLUMN audit_digests.at IS 'When it was taken.';
COMMENT ON COLUMN audit_digests.content IS 'A line for each chain: chain, number, newest place, its hash, place up to which it was cut, seconds for which rows are kept, plan.';
COMMENT ON COLUMN audit_digests.signature IS 'Ed25519 signature of the digest, the part and its content; its key is sealed under the master key.';

CREATE FUNCTION audit_digest_is_kept() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND (SELECT count(DISTINCT d.at) FROM public.audit_digests d WHERE d.at > OLD.at) >= 3 THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_digests keeps the newest three';
END $$;
COMMENT ON FUNCTION audit_digest_is_kept IS 'Rejects the change of a digest, and the deletion of one of the newest three.';
CREATE TRIGGER audit_digests_kept BEFORE UPDATE OR DELETE ON audit_digests FOR EACH ROW EXECUTE FUNCTION audit_digest_is_kept();
CREATE TRIGGER audit_digests_never_truncated BEFORE TRUNCATE ON audit_digests FOR EACH STATEMENT
    EXECUTE FUNCTION audit_is_never_truncated();

CREATE FUNCTION audit_forget_digests() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_deleted bigint;
BEGIN
    DELETE FROM public.audit_digests WHERE at < (
        SELECT min(newest.at) FROM (SELECT DISTINCT d.at FROM public.audit_digests d ORDER BY d.at DESC LIMIT 3) newest);
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END $$;
COMMENT ON FUNCTION audit_forget_digests IS 'Deletes all digests but the newest three; returns how many parts. Runs as the owner of the log.';

CREATE TABLE audit_retentions (
    id           uuid PRIMARY KEY,
    chain        uuid NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    kept_seconds bigint NOT NULL CHECK (kept_seconds > 0),
    plan         text NOT NULL
);
CREATE INDEX audit_retentions_of_chain ON audit_retentions (chain, at);
COMMENT ON TABLE audit_retentions IS 'For how long the rows of each organization''s chain of audit_log are kept: a row for each change of that. Append-only.';
COMMENT ON COLUMN audit_retentions.id IS 'Id of the row of audit_log, in the platform''s chain, that says the same.';
COMMENT ON COLUMN audit_retentions.chain IS 'Organization of the chain.';
COMMENT ON COLUMN audit_retentions.at IS 'When the controller found it changed. A shorter time holds 7 days after that.';
COMMENT ON COLUMN audit_retentions.kept_seconds IS 'For how long rows are kept, in seconds.';
COMMENT ON COLUMN audit_retentions.plan IS 'Plan of the organization at that time; empty if it was deleted.';
CREATE TRIGGER audit_retentions_append_only BEFORE UPDATE OR DELETE ON audit_retentions FOR EACH ROW
    EXECUTE FUNCTION audit_never_changes();
CREATE TRIGGER audit_retentions_never_truncated BEFORE TRUNCATE ON audit_retentions FOR EACH STATEMENT
    EXECUTE FUNCTION audit_is_never_truncated();

CREATE FUNCTION audit_kept_seconds(p_chain uuid) RETURNS bigint LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE p_chain WHEN '00000000-0000-0000-0000-000000000000' THEN 30 * 86400
        ELSE greatest(86400, coalesce((
            SELECT max(r.kept_seconds) FROM public.audit_retentions r
            WHERE r.chain = p_chain AND r.at >= coalesce((
                SELECT max(b.at) FROM public.audit_retentions b WHERE b.chain = p_chain AND b.at <= now() - interval '7 days'),
                '-infinity')), 365 * 86400)) END
$$;
COMMENT ON FUNCTION audit_kept_seconds IS 'How old the rows of a chain must be at least when they are cut: a shorter retention holds 7 days after it was recorded.';

CREATE OR REPLACE FUNCTION audit_cut(p_chain uuid, p_seq bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_deleted bigint;
    v_kept bigint := public.audit_kept_seconds(p_chain);
BEGIN
    IF EXISTS (SELECT FROM public.audit_log WHERE chain = p_chain AND seq <= p_seq AND at > now() - make_interval(secs => v_kept)) THEN
        RAISE EXCEPTION 'audit_log keeps rows of this chain for % s', v_kept;
    END IF;
    DELETE FROM public.audit_log WHERE chain = p_chain AND seq <= p_seq;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    DELETE FROM public.audit_checkpoints WHERE chain = p_chain AND seq < p_seq;
    RETURN v_deleted;
END $$;
COMMENT ON FUNCTION audit_cut IS 'Deletes rows of a chain up to this one and the checkpoints before it; refuses rows that are younger than the recorded retention, triggers those that are not behind a cut. Runs as the owner of the log.';

CREATE TABLE audit_repairs (
    chain     uuid NOT NULL,
    seq       bigint NOT NULL CHECK (seq > 0),
    found     text NOT NULL,
    who       text NOT NULL,
    why       text NOT NULL,
    at        timestamptz NOT NULL,
    signature bytea NOT NULL,
    PRIMARY KEY (chain, seq)
);
COMMENT ON TABLE audit_repairs IS 'Breaks of chains of audit_log that an operator has noted on the host, so that the chain goes on. Append-only.';
COMMENT ON COLUMN audit_repairs.chain IS 'Organization of the chain; all zeros: the platform.';
COMMENT ON COLUMN audit_repairs.seq IS 'Place of the note in the chain: what is wrong lies before it, and the next row is chained to it.';
COMMENT ON COLUMN audit_repairs.found IS 'What audit verify had found, one fault a line.';
COMMENT ON COLUMN audit_repairs.who IS 'Who noted it, as they called themselves.';
COMMENT ON COLUMN audit_repairs.why IS 'What they know of the cause.';
COMMENT ON COLUMN audit_repairs.at IS 'When.';
COMMENT ON COLUMN audit_repairs.signature IS 'Ed25519 signature of the other columns and the fleet id; its key is sealed under the master key.';
CREATE TRIGGER audit_repairs_append_only BEFORE UPDATE OR DELETE ON audit_repairs FOR EACH ROW EXECUTE FUNCTION audit_never_changes();
CREATE TRIGGER audit_repairs_never_truncated BEFORE TRUNCATE ON audit_repairs FOR EACH STATEMENT
    EXECUTE FUNCTION audit_is_never_truncated();

REVOKE ALL ON FUNCTION audit_forget_digests FROM PUBLIC;

-- A controller from before chains signs the newest row of all as the platform's: it names no chain, and is refused.
ALTER TABLE audit_checkpoints
    ALTER COLUMN chain DROP DEFAULT,
    ADD COLUMN kept_seconds bigint CHECK (kept_seconds > 0),
    ADD COLUMN plan text,
    ADD COLUMN row_at timestamptz,
    ADD CHECK ((kept_seconds IS NULL) = (plan IS NULL) AND (kept_seconds IS NULL) = (row_at IS NULL));
COMMENT ON COLUMN audit_checkpoints.kept_seconds IS 'Of a cut: for how long rows of the chain are kept. Null in cuts from before this column.';
COMMENT ON COLUMN audit_checkpoints.plan IS 'Of a cut: plan of the organization; empty for the platform and for a deleted organization.';
COMMENT ON COLUMN audit_checkpoints.row_at IS 'Of a cut: time of the newest row that it deleted.';

COMMENT ON COLUMN refused_calls.client IS 'Network of the client (/24 or /48), or the user of whom more calls were refused than audit_log has rows of; empty for all the others of this minute.';

ALTER TABLE master_keys ADD COLUMN proven boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN master_keys.proven IS 'Of a retired key: no value was left under it while nobody could write one. False for keys that were retired before this was checked.';

CREATE FUNCTION vault_key_is_in_use() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_begin bytea;
    v_id text;
    v_state text;
BEGIN
    -- A branch whose column this table lacks is never evaluated.
    IF TG_ARGV[0] = 'sealed_key' THEN
        v_begin := substring(NEW.sealed_key FOR 9);
    ELSIF TG_ARGV[0] = 'return_spec' THEN
        v_begin := substring(NEW.return_spec FOR 9);
    ELSE
        v_begin := substring(NEW.sealed FOR 9);
    END IF;
    IF octet_length(v_begin) < 9 OR v_begin IS NULL THEN
        RETURN NEW;
    END IF;
    IF get_byte(v_begin, 0) = 2 THEN
        v_id := encode(substring(v_begin FROM 2), 'hex');
    ELSE
        SELECT k.id INTO v_id FROM public.master_keys k WHERE k.first;
    END IF;
    IF v_id IS NULL THEN
        RETURN NEW;
    END IF;
    -- Held until this transaction ends; who retires the key needs it alone.
    PERFORM pg_advisory_xact_lock_shared(('x' || v_id)::bit(64)::bigint);
    SELECT k.state INTO v_state FROM public.master_keys k WHERE k.id = v_id;
    IF v_state = 'RETIRED' THEN
        RAISE EXCEPTION 'the master key % is retired: no value is written under it', v_id USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION vault_key_is_in_use IS 'Rejects a sealed value under a retired master key, and keeps its key from being retired until the transaction has ended. Its argument is the column.';
CREATE TRIGGER vault_key_of_sealed BEFORE INSERT OR UPDATE OF sealed ON mails FOR EACH ROW EXECUTE FUNCTION vault_key_is_in_use('sealed');
CREATE TRIGGER vault_key_of_sealed BEFORE INSERT OR UPDATE OF sealed ON platform_secrets FOR EACH ROW EXECUTE FUNCTION vault_key_is_in_use('sealed');
CREATE TRIGGER vault_key_of_sealed BEFORE INSERT OR UPDATE OF sealed ON signing_keys FOR EACH ROW EXECUTE FUNCTION vault_key_is_in_use('sealed');
CREATE TRIGGER vault_key_of_sealed_key BEFORE INSERT OR UPDATE OF sealed_key ON authorities FOR EACH ROW EXECUTE FUNCTION vault_key_is_in_use('sealed_key');
CREATE TRIGGER vault_key_of_sealed BEFORE INSERT OR UPDATE OF sealed ON project_secrets FOR EACH ROW EXECUTE FUNCTION vault_key_is_in_use('sealed');
CREATE TRIGGER vault_key_of_sealed BEFORE INSERT OR UPDATE OF sealed ON project_specs FOR EACH ROW EXECUTE FUNCTION vault_key_is_in_use('sealed');
CREATE TRIGGER vault_key_of_return_spec BEFORE INSERT OR UPDATE OF return_spec ON project_upgrades FOR EACH ROW EXECUTE FUNCTION vault_key_is_in_use('return_spec');
CREATE TRIGGER vault_key_of_sealed BEFORE INSERT OR UPDATE OF sealed ON project_settings FOR EACH ROW EXECUTE FUNCTION vault_key_is_in_use('sealed');
CREATE TRIGGER vault_key_of_sealed BEFORE INSERT OR UPDATE OF sealed ON function_secrets FOR EACH ROW EXECUTE FUNCTION vault_key_is_in_use('sealed');
