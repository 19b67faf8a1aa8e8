-- Clusters that are made, changed and deleted: shared ones by the operator, private ones by the organizations that own them.

ALTER TABLE clusters
    ALTER COLUMN cpu_overcommit TYPE double precision,
    ALTER COLUMN memory_overcommit TYPE double precision,
    ADD COLUMN disk_overcommit double precision NOT NULL DEFAULT 1,
    ADD COLUMN cpu_reserve integer NOT NULL DEFAULT 0 CHECK (cpu_reserve >= 0),
    ADD COLUMN memory_reserve integer NOT NULL DEFAULT 0 CHECK (memory_reserve >= 0),
    ADD COLUMN disk_reserve bigint NOT NULL DEFAULT 0 CHECK (disk_reserve >= 0),
    ADD COLUMN policy text NOT NULL DEFAULT 'PACK' CHECK (policy IN ('PACK', 'SPREAD')),
    ADD COLUMN region text NOT NULL DEFAULT '',
    ADD COLUMN labels jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    ADD COLUMN revision bigint NOT NULL DEFAULT 1,
    ADD COLUMN deleted_at timestamptz,
    DROP CONSTRAINT clusters_name_key,
    ADD CONSTRAINT clusters_factors CHECK (cpu_overcommit BETWEEN 1 AND 64 AND memory_overcommit BETWEEN 1 AND 64
        AND disk_overcommit BETWEEN 1 AND 64);
UPDATE clusters SET policy = 'SPREAD' WHERE kind = 'PRIVATE';
CREATE UNIQUE INDEX clusters_name ON clusters (coalesce(organization_id, '00000000-0000-0000-0000-000000000000'), name)
    WHERE deleted_at IS NULL;
COMMENT ON COLUMN clusters.name IS 'Name, unique among shared clusters, or among those of its organization, so that nobody learns the names of others'' private clusters.';
COMMENT ON COLUMN clusters.disk_overcommit IS 'Reserved disk may exceed the hosts'' by this factor.';
COMMENT ON COLUMN clusters.cpu_reserve IS 'Millicores that each host keeps for itself; taken off before the factor.';
COMMENT ON COLUMN clusters.memory_reserve IS 'MiB of memory that each host keeps for itself; taken off before the factor.';
COMMENT ON COLUMN clusters.disk_reserve IS 'MiB of disk that each host keeps for itself; taken off before the factor.';
COMMENT ON COLUMN clusters.policy IS 'PACK: the scheduler prefers the fullest node; SPREAD: the emptiest.';
COMMENT ON COLUMN clusters.region IS 'Where its hosts are, for people.';
COMMENT ON COLUMN clusters.labels IS 'Labels: an object of texts.';
COMMENT ON COLUMN clusters.revision IS 'Etag.';
COMMENT ON COLUMN clusters.deleted_at IS 'When it was deleted. The row stays while rows of removed projects refer to it.';

-- What a host has, so that a change of its cluster's factors needs no Hello.
ALTER TABLE node_capacity
    ADD COLUMN host_cpu integer NOT NULL DEFAULT 0,
    ADD COLUMN host_memory integer NOT NULL DEFAULT 0,
    ADD COLUMN host_disk bigint NOT NULL DEFAULT 0;
UPDATE node_capacity a SET host_cpu = round(a.cpu_cap / c.cpu_overcommit), host_memory = round(a.memory_cap / c.memory_overcommit),
    host_disk = a.disk_cap
FROM nodes n JOIN clusters c ON c.id = n.cluster_id WHERE n.id = a.node_id;
COMMENT ON COLUMN node_capacity.host_cpu IS 'Millicores of the host, from its last Hello.';
COMMENT ON COLUMN node_capacity.host_memory IS 'MiB of memory of the host, from its last Hello.';
COMMENT ON COLUMN node_capacity.host_disk IS 'MiB of disk of the host, from its last Hello.';
COMMENT ON COLUMN node_capacity.cpu_cap IS 'Millicores that may be reserved: host_cpu without the cluster''s reserve, times its factor.';
COMMENT ON COLUMN node_capacity.memory_cap IS 'MiB that may be reserved: host_memory without the cluster''s reserve, times its factor.';
COMMENT ON COLUMN node_capacity.disk_cap IS 'MiB that may be reserved: host_disk without the cluster''s reserve, times its factor.';

CREATE FUNCTION node_cap(p_host bigint, p_reserve bigint, p_factor double precision) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT least(greatest(p_host - p_reserve, 0) * p_factor, 4e18)::bigint
$$;
COMMENT ON FUNCTION node_cap IS 'How much of a resource projects may reserve on a host: what the host has without the reserve, times the factor.';

ALTER TABLE nodes
    ADD COLUMN labels jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    ADD COLUMN revision bigint NOT NULL DEFAULT 1;
COMMENT ON COLUMN nodes.labels IS 'Labels: an object of texts.';
COMMENT ON COLUMN nodes.revision IS 'Etag: changes with name and labels.';
COMMENT ON COLUMN nodes.schedulable IS 'New projects may come: the node is neither cordoned nor revoked.';

-- As before, but it waits for a cordon, removal or revocation of the node, which lock the node's row FOR UPDATE: whoever counts
-- the placements of a node under that lock misses none.
CREATE OR REPLACE FUNCTION node_reserve(p_node uuid, p_cpu integer, p_memory integer, p_disk bigint, p_silent_after double precision)
RETURNS TABLE (node_name text, host text, slot integer, first_port integer, subnet inet) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM nodes l WHERE l.id = p_node AND l.schedulable FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
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
