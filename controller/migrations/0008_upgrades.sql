-- Projects move from one stack release to another.

ALTER TABLE operations DROP CONSTRAINT operations_kind_check;
ALTER TABLE operations ADD CONSTRAINT operations_kind_check CHECK (kind IN ('CREATE_PROJECT', 'START_PROJECT',
    'STOP_PROJECT', 'RESTART_PROJECT', 'DELETE_PROJECT', 'UNDELETE_PROJECT', 'UPGRADE_PROJECT'));

CREATE TABLE project_upgrades (
    project_ref       text PRIMARY KEY REFERENCES projects,
    operation_id      uuid NOT NULL UNIQUE REFERENCES operations,
    from_release      text NOT NULL,
    to_release        text NOT NULL,
    state_before      text NOT NULL CHECK (state_before IN ('ACTIVE_HEALTHY', 'ACTIVE_UNHEALTHY', 'INACTIVE', 'INIT_FAILED')),
    return_generation bigint NOT NULL,
    return_spec       bytea NOT NULL,
    cpu_before        integer NOT NULL,
    memory_before     integer NOT NULL,
    disk_before       bigint NOT NULL,
    cpu_after         integer NOT NULL,
    memory_after      integer NOT NULL,
    disk_after        bigint NOT NULL
);
COMMENT ON TABLE project_upgrades IS 'Upgrades in progress, one row per project: what the project returns to if its upgrade fails. The row is deleted when the operation ends.';
COMMENT ON COLUMN project_upgrades.project_ref IS 'Project that is being upgraded.';
COMMENT ON COLUMN project_upgrades.operation_id IS 'Operation of the upgrade.';
COMMENT ON COLUMN project_upgrades.from_release IS 'Stack release before the upgrade.';
COMMENT ON COLUMN project_upgrades.to_release IS 'Stack release to which it moves.';
COMMENT ON COLUMN project_upgrades.state_before IS 'State of the project before the upgrade.';
COMMENT ON COLUMN project_upgrades.return_generation IS 'Generation with which return_spec is sealed: the one after the upgrade.';
COMMENT ON COLUMN project_upgrades.return_spec IS 'Specification before the upgrade, sealed as that of return_generation; project_specs gets it if the upgrade fails.';
COMMENT ON COLUMN project_upgrades.cpu_before IS 'Millis of cpu that the project needs with from_release.';
COMMENT ON COLUMN project_upgrades.memory_before IS 'MiB of memory that the project needs with from_release.';
COMMENT ON COLUMN project_upgrades.disk_before IS 'MiB of disk that the project needs with from_release.';
COMMENT ON COLUMN project_upgrades.cpu_after IS 'Millis of cpu that the project needs with to_release.';
COMMENT ON COLUMN project_upgrades.memory_after IS 'MiB of memory that the project needs with to_release.';
COMMENT ON COLUMN project_upgrades.disk_after IS 'MiB of disk that the project needs with to_release.';

CREATE FUNCTION node_grow(p_node uuid, p_cpu integer, p_memory integer, p_disk bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE node_capacity c SET
        cpu_used = c.cpu_used + p_cpu, memory_used = c.memory_used + p_memory, disk_used = c.disk_used + p_disk
    WHERE c.node_id = p_node AND (p_cpu = 0 OR c.cpu_used + p_cpu <= c.cpu_cap)
        AND (p_memory = 0 OR c.memory_used + p_memory <= c.memory_cap) AND (p_disk = 0 OR c.disk_used + p_disk <= c.disk_cap);
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION node_grow IS 'Reserves more cpu (millis), memory and disk (MiB) for a project that has its slot on the node. False if it does not fit.';
