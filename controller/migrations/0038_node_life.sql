-- The life of a node: it is drained before it goes, and forgotten if it never comes back.

ALTER TABLE nodes
    ADD COLUMN draining_since timestamptz,
    ADD COLUMN forgotten_at timestamptz,
    ADD COLUMN returned_at timestamptz,
    ADD CONSTRAINT nodes_draining CHECK (draining_since IS NULL OR NOT schedulable),
    ADD CONSTRAINT nodes_forgotten CHECK (forgotten_at IS NULL OR revoked_at IS NOT NULL);
COMMENT ON COLUMN nodes.draining_since IS 'Since when nothing starts there, so that it becomes empty; null if it is not drained.';
COMMENT ON COLUMN nodes.forgotten_at IS 'When the operator gave it up as lost: its projects end. Null if nobody did.';
COMMENT ON COLUMN nodes.returned_at IS 'When an agent last asked for a session with the identity of this forgotten node.';

-- As before, but a stopped project starts on no draining node. It waits for a drain that has begun: whoever lists what runs on a
-- node under that lock misses nothing.
CREATE OR REPLACE FUNCTION node_reserve_compute(p_node uuid, p_cpu integer, p_memory integer, p_silent_after double precision)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM nodes l WHERE l.id = p_node AND l.draining_since IS NULL FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE node_capacity c SET cpu_used = c.cpu_used + p_cpu, memory_used = c.memory_used + p_memory
    FROM nodes n
    WHERE c.node_id = p_node AND n.id = p_node AND n.draining_since IS NULL
        AND n.seen_at > now() - make_interval(secs => p_silent_after)
        AND c.cpu_used + p_cpu <= c.cpu_cap AND c.memory_used + p_memory <= c.memory_cap;
    RETURN FOUND;
END
$$;
