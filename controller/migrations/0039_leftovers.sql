-- Addresses of projects follow their node, and what is left of projects on hosts has rows of its own.

ALTER TABLE project_endpoints ADD COLUMN loopback boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN project_endpoints.loopback IS 'True if the port listens on the host''s loopback only, whatever address the node advertises.';
COMMENT ON COLUMN placements.host IS 'Address at which published ports are reached: the one that the node advertises.';
UPDATE project_endpoints e SET loopback = true FROM placements l
WHERE l.project_ref = e.project_ref AND l.role = 'ACTIVE' AND e.kind = 'node_port' AND e.host = '127.0.0.1'
    -- Of a node that advertises its loopback: so far every release has the database's port there, and no other one.
    AND (l.host <> '127.0.0.1' OR e.scheme = 'postgresql');

CREATE TABLE node_leftovers (
    node_id             uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    project_ref         text NOT NULL,
    generation          bigint NOT NULL,
    slot                integer,
    containers          text[] NOT NULL,
    networks            text[] NOT NULL,
    volumes             text[] NOT NULL,
    found_at            timestamptz NOT NULL DEFAULT now(),
    delete_requested_at timestamptz,
    delete_stored       boolean NOT NULL DEFAULT false,
    delete_error        text NOT NULL DEFAULT '',
    PRIMARY KEY (node_id, project_ref),
    CHECK (delete_requested_at IS NOT NULL OR NOT delete_stored)
);
CREATE INDEX node_leftovers_project ON node_leftovers (project_ref);
COMMENT ON TABLE node_leftovers IS 'What nodes have of projects that no placement puts there, as of the last inventory. A row goes when an inventory finds nothing any more.';
COMMENT ON COLUMN node_leftovers.node_id IS 'The node.';
COMMENT ON COLUMN node_leftovers.project_ref IS 'Ref of the project, as the host says it: this database may not know it.';
COMMENT ON COLUMN node_leftovers.generation IS 'Generation that the agent has stored; 0 if it has no record and found only remains.';
COMMENT ON COLUMN node_leftovers.slot IS 'Slot of the agent''s record; null if it has none.';
COMMENT ON COLUMN node_leftovers.containers IS 'Names of containers.';
COMMENT ON COLUMN node_leftovers.networks IS 'Names of networks.';
COMMENT ON COLUMN node_leftovers.volumes IS 'Names of volumes.';
COMMENT ON COLUMN node_leftovers.found_at IS 'When an inventory first found it.';
COMMENT ON COLUMN node_leftovers.delete_requested_at IS 'When somebody asked for its deletion; null if nobody did.';
COMMENT ON COLUMN node_leftovers.delete_stored IS 'True if the agent has stored the removal in the present session; it is told again in the next one.';
COMMENT ON COLUMN node_leftovers.delete_error IS 'Why the agent did not take the removal, as of the last try.';

CREATE FUNCTION node_adopt(p_node uuid, p_ref text, p_cpu integer, p_memory integer, p_disk bigint, p_slot integer, p_silent_after double precision)
RETURNS TABLE (node_name text, host text, slot integer, first_port integer, subnet inet) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    UPDATE node_capacity c SET
        cpu_used = c.cpu_used + p_cpu, memory_used = c.memory_used + p_memory, disk_used = c.disk_used + p_disk,
        taken_slots = c.taken_slots + one_slot(p_slot), blocked_slots = c.blocked_slots - one_slot(p_slot),
        blocked_reasons = ARRAY(SELECT b.reason FROM unnest(c.blocked_reasons) WITH ORDINALITY AS b (reason, n)
            WHERE strpos(b.reason, p_ref) = 0 ORDER BY b.n)
    FROM nodes n
    WHERE c.node_id = p_node AND n.id = p_node AND n.revoked_at IS NULL AND n.draining_since IS NULL
        AND n.seen_at > now() - make_interval(secs => p_silent_after)
        AND c.cpu_used + p_cpu <= c.cpu_cap AND c.memory_used + p_memory <= c.memory_cap
        AND c.disk_used + p_disk <= c.disk_cap
        AND p_slot BETWEEN 0 AND c.slots - 1 AND NOT c.taken_slots @> p_slot
    RETURNING n.name, n.advertise_address, p_slot, c.port_base + 8 * p_slot, slot_network(c.network_range, p_slot);
END
$$;
COMMENT ON FUNCTION node_adopt IS 'Reserves cpu (millicores), memory and disk (MiB) and the slot that a leftover of a project holds, on a connected node that is not draining, and unblocks that slot. Returns no row if something does not fit.';
