-- A node in two tables: nodes (the fleet's: what it is, when it was seen) and node_capacity (the projects': what fits on it).

CREATE TABLE node_capacity (
    node_id         uuid PRIMARY KEY REFERENCES nodes ON DELETE CASCADE,
    port_base       integer NOT NULL,
    network_range   inet NOT NULL,
    cpu_cap         integer NOT NULL,
    cpu_used        integer NOT NULL DEFAULT 0 CHECK (cpu_used >= 0),
    memory_cap      integer NOT NULL,
    memory_used     integer NOT NULL DEFAULT 0 CHECK (memory_used >= 0),
    disk_cap        bigint NOT NULL,
    disk_used       bigint NOT NULL DEFAULT 0 CHECK (disk_used >= 0),
    slots           integer NOT NULL,
    taken_slots     int4multirange NOT NULL DEFAULT '{}',
    blocked_slots   int4multirange NOT NULL DEFAULT '{}',
    blocked_reasons text[] NOT NULL DEFAULT '{}',
    last_slot       integer,
    start_failures  integer NOT NULL DEFAULT 0,
    last_failure_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE node_capacity IS 'What a node has room for; a row from its first Hello on. The row guards what is reserved on the host. Locked after the organization, before the project. Half of each page is free, so that the many updates of a row stay on its page.';
COMMENT ON COLUMN node_capacity.node_id IS 'The node.';
COMMENT ON COLUMN node_capacity.port_base IS 'First port of slot 0.';
COMMENT ON COLUMN node_capacity.network_range IS 'Range that the slots'' /27 networks are cut from.';
COMMENT ON COLUMN node_capacity.cpu_cap IS 'Millis that may be reserved, overcommit included.';
COMMENT ON COLUMN node_capacity.cpu_used IS 'Millis reserved.';
COMMENT ON COLUMN node_capacity.memory_cap IS 'MiB that may be reserved, overcommit included.';
COMMENT ON COLUMN node_capacity.memory_used IS 'MiB reserved.';
COMMENT ON COLUMN node_capacity.disk_cap IS 'MiB that may be reserved.';
COMMENT ON COLUMN node_capacity.disk_used IS 'MiB reserved.';
COMMENT ON COLUMN node_capacity.slots IS 'Number of slots.';
COMMENT ON COLUMN node_capacity.taken_slots IS 'Slots of placements.';
COMMENT ON COLUMN node_capacity.blocked_slots IS 'Slots whose ports or network others hold.';
COMMENT ON COLUMN node_capacity.blocked_reasons IS 'Who holds what.';
COMMENT ON COLUMN node_capacity.last_slot IS 'Slot taken by the newest placement; lets node_reserve return it.';
COMMENT ON COLUMN node_capacity.start_failures IS 'Failed starts since the last success.';
COMMENT ON COLUMN node_capacity.last_failure_at IS 'Newest failed start.';

INSERT INTO node_capacity
SELECT id, port_base, network_range, cpu_cap, cpu_used, memory_cap, memory_used, disk_cap, disk_used, slots, taken_slots,
    blocked_slots, blocked_reasons, last_slot, start_failures, last_failure_at
FROM nodes WHERE slots > 0 OR taken_slots <> '{}';

ALTER TABLE nodes
    DROP COLUMN port_base, DROP COLUMN network_range, DROP COLUMN cpu_cap, DROP COLUMN cpu_used, DROP COLUMN memory_cap,
    DROP COLUMN memory_used, DROP COLUMN disk_cap, DROP COLUMN disk_used, DROP COLUMN slots, DROP COLUMN taken_slots,
    DROP COLUMN blocked_slots, DROP COLUMN blocked_reasons, DROP COLUMN last_slot, DROP COLUMN start_failures,
    DROP COLUMN last_failure_at;
COMMENT ON TABLE nodes IS 'Docker hosts: what they are, and when they were seen.';

-- plpgsql, since its statements are planned once per connection.
CREATE FUNCTION node_reserve(p_node uuid, p_cpu integer, p_memory integer, p_disk bigint, p_silent_after double precision)
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
    RETURNING n.name, n.advertise_address, c.last_slot, c.port_base + 8 * c.last_slot, slot_network(c.network_range, c.last_slot);
END
$$;
COMMENT ON FUNCTION node_reserve IS 'Reserves cpu (millis), memory and disk (MiB) and the lowest free slot on a node that is connected and takes projects. No row if something does not fit.';

CREATE FUNCTION node_reserve_compute(p_node uuid, p_cpu integer, p_memory integer, p_silent_after double precision)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE node_capacity c SET cpu_used = c.cpu_used + p_cpu, memory_used = c.memory_used + p_memory
    FROM nodes n
    WHERE c.node_id = p_node AND n.id = p_node AND n.seen_at > now() - make_interval(secs => p_silent_after)
        AND c.cpu_used + p_cpu <= c.cpu_cap AND c.memory_used + p_memory <= c.memory_cap;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION node_reserve_compute IS 'Reserves cpu (millis) and memory (MiB) for a project that has its slot on the node. False if it does not fit.';

CREATE FUNCTION node_release(p_node uuid, p_cpu integer, p_memory integer, p_disk bigint, p_slot integer)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE node_capacity SET cpu_used = cpu_used - p_cpu, memory_used = memory_used - p_memory, disk_used = disk_used - p_disk,
        taken_slots = CASE WHEN p_slot IS NULL THEN taken_slots ELSE taken_slots - one_slot(p_slot) END
    WHERE node_id = p_node;
END
$$;
COMMENT ON FUNCTION node_release IS 'Gives back what node_reserve took; a null slot is kept.';

CREATE FUNCTION plan_take_project(p_organization uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE organizations SET projects_used = projects_used + 1, revision = revision + 1
    WHERE id = p_organization AND projects_used < projects_limit;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION plan_take_project IS 'Counts one more project of an organization. False if it has all that it may have.';

CREATE FUNCTION plan_give_back_project(p_organization uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE organizations SET projects_used = projects_used - 1, revision = revision + 1 WHERE id = p_organization;
END
$$;
COMMENT ON FUNCTION plan_give_back_project IS 'Counts one project of an organization less.';
