-- What is wrong with a node, as its agent reports it. A blocking condition keeps new projects away.

CREATE TABLE node_conditions (
    node_id uuid NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    reason text NOT NULL,
    message text NOT NULL,
    since timestamptz NOT NULL,
    blocking boolean NOT NULL,
    PRIMARY KEY (node_id, reason)
);
COMMENT ON TABLE node_conditions IS 'What is wrong with each node now, as its agent last reported it; no row = nothing.';
COMMENT ON COLUMN node_conditions.node_id IS 'The node.';
COMMENT ON COLUMN node_conditions.reason IS 'Stable reason, e.g. ENGINE_SILENT.';
COMMENT ON COLUMN node_conditions.message IS 'For people: what is wrong, and the remedy.';
COMMENT ON COLUMN node_conditions.since IS 'When it began, by the node''s clock, but never in the future.';
COMMENT ON COLUMN node_conditions.blocking IS 'True if the node takes no new projects meanwhile.';

-- As before, but for the last condition.
CREATE OR REPLACE FUNCTION node_reserve(p_node uuid, p_cpu integer, p_memory integer, p_disk bigint, p_silent_after double precision)
RETURNS TABLE (node_name text, host text, slot integer, first_port integer, subnet inet) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    UPDATE node_capacity c SET
        cpu_used = c.cpu_used + p_cpu, memory_used = c.memory_used + p_memory, disk_used = c.disk_used + p_disk,
        last_slot = first_free_slot(c.slots, c.taken_slots, c.blocked_slots),
        taken_slots = c.taken_slots + one_slot(first_free_slot(c.slots, c.taken_slots, c.blocked_slots))
    FROM nodes n
    WHERE c.node_id = p_node AND n.id = p_node AND n.schedulable
        AND n.seen_at > now() - make_interval(secs => p_silent_after)
        AND c.cpu_used + p_cpu <= c.cpu_cap AND c.memory_used + p_memory <= c.memory_cap
        AND c.disk_used + p_disk <= c.disk_cap
        AND first_free_slot(c.slots, c.taken_slots, c.blocked_slots) IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM node_conditions d WHERE d.node_id = p_node AND d.blocking)
    RETURNING n.name, n.advertise_address, c.last_slot, c.port_base + 8 * c.last_slot, slot_network(c.network_range, c.last_slot);
END
$$;
COMMENT ON FUNCTION node_reserve IS 'Reserves cpu (millicores), memory and disk (MiB) and the lowest free slot on a connected, schedulable node without a blocking condition. Returns no row if something does not fit.';
