-- A restore that waits for its confirmation has an id, which changes with each new sign of it: an operator confirms what he has seen.

ALTER TABLE platform ADD COLUMN restore_id uuid;
COMMENT ON COLUMN platform.restore_id IS 'Part of the id of the restore that waits for its confirmation: another one whenever a replica finds its own heartbeat lost. NULL = none waits.';
UPDATE platform SET restore_id = gen_random_uuid() WHERE restore_seen_at IS NOT NULL;
UPDATE restore_claims SET confirmed_at = now()
WHERE cluster_id IS NULL AND NOT EXISTS (SELECT FROM platform WHERE restore_seen_at IS NOT NULL);
COMMENT ON COLUMN restore_claims.confirmed_at IS 'When an operator confirmed the restore that the claim is a sign of.';

CREATE FUNCTION unconfirmed_restores() RETURNS TABLE (id uuid, cluster_id uuid, detail text, claims bigint) LANGUAGE sql STABLE AS $$
    SELECT md5(coalesce(p.restore_id::text, '') || coalesce(c.told, ''))::uuid, NULL::uuid, p.restore_detail, c.claims
    FROM platform p, (
        SELECT count(*) AS claims, string_agg(concat_ws(' ', r.node_id, r.subject, r.claim), ',' ORDER BY r.node_id, r.subject, r.claim) AS told
        FROM restore_claims r WHERE r.cluster_id IS NULL AND r.confirmed_at IS NULL) c
    WHERE p.restore_seen_at IS NOT NULL
    UNION ALL
    SELECT md5(concat_ws(' ', r.cluster_id,
            string_agg(concat_ws(' ', r.node_id, r.subject, r.claim), ',' ORDER BY r.node_id, r.subject, r.claim)))::uuid, r.cluster_id,
        (array_agg(format('node nod_%s has %s %s, which the database never gave', replace(r.node_id::text, '-', ''), r.subject, r.claim)
            ORDER BY r.created_at, r.claim))[1], count(*)
    FROM restore_claims r WHERE r.cluster_id IS NOT NULL AND r.confirmed_at IS NULL GROUP BY r.cluster_id
$$;
COMMENT ON FUNCTION unconfirmed_restores IS 'The restores that wait for a confirmation: that of the whole database (no cluster), and what hosts of each private cluster claim. The id changes with each claim.';
