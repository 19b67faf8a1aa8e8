-- Sizes of projects: what each gives a project's database, as rows that the operator edits. A project keeps a copy of what it got.
CREATE TABLE project_sizes (
    name        text PRIMARY KEY CHECK (name IN ('nano', 'micro', 'small', 'medium', 'large')),
    rank        integer NOT NULL UNIQUE,
    cpu_millis  integer NOT NULL CHECK (cpu_millis BETWEEN 10 AND 1000000),
    memory_mib  integer NOT NULL CHECK (memory_mib BETWEEN 32 AND 16000000),
    disk_mib    integer NOT NULL CHECK (disk_mib BETWEEN 128 AND 64000000),
    connections integer NOT NULL CHECK (connections BETWEEN 10 AND 5000),
    revision    bigint NOT NULL DEFAULT 1,
    updated_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE project_sizes IS 'What each size gives a project''s database. A change concerns projects that get the size from then on.';
COMMENT ON COLUMN project_sizes.name IS 'Id everywhere, e.g. nano.';
COMMENT ON COLUMN project_sizes.rank IS 'Order of the sizes, smallest first.';
COMMENT ON COLUMN project_sizes.cpu_millis IS 'Millis of cpu that are reserved on the node.';
COMMENT ON COLUMN project_sizes.memory_mib IS 'MiB of memory that are reserved on the node.';
COMMENT ON COLUMN project_sizes.disk_mib IS 'MiB of the database''s volumes.';
COMMENT ON COLUMN project_sizes.connections IS 'Connections that the project''s own roles may have together.';
COMMENT ON COLUMN project_sizes.revision IS 'Etag.';
COMMENT ON COLUMN project_sizes.updated_at IS 'When it was changed last.';

-- The smallest size is what every release reserved for its database before there were sizes, so nothing changes for its projects.
INSERT INTO project_sizes (name, rank, cpu_millis, memory_mib, disk_mib, connections) VALUES
    ('nano', 1, 150, 256, 1024, 60),
    ('micro', 2, 250, 512, 2048, 60),
    ('small', 3, 500, 1024, 4096, 90),
    ('medium', 4, 1000, 2048, 8192, 120),
    ('large', 5, 2000, 4096, 24576, 160);

ALTER TABLE projects
    ADD COLUMN size text NOT NULL DEFAULT 'nano' REFERENCES project_sizes,
    ADD COLUMN size_cpu_millis integer NOT NULL DEFAULT 150,
    ADD COLUMN size_memory_mib integer NOT NULL DEFAULT 256,
    ADD COLUMN size_disk_mib integer NOT NULL DEFAULT 1024,
    ADD COLUMN size_connections integer NOT NULL DEFAULT 60;
COMMENT ON COLUMN projects.size IS 'Size of the project.';
COMMENT ON COLUMN projects.size_cpu_millis IS 'Millis of cpu that the size gave its database when the project got the size.';
COMMENT ON COLUMN projects.size_memory_mib IS 'The same in MiB of memory.';
COMMENT ON COLUMN projects.size_disk_mib IS 'The same in MiB of disk; it only grows, so a smaller size keeps it.';
COMMENT ON COLUMN projects.size_connections IS 'The same in connections of the project''s own roles.';

ALTER TABLE project_upgrades
    ADD COLUMN size_before text NOT NULL DEFAULT 'nano' REFERENCES project_sizes,
    ADD COLUMN size_cpu_before integer NOT NULL DEFAULT 150,
    ADD COLUMN size_memory_before integer NOT NULL DEFAULT 256,
    ADD COLUMN size_disk_before integer NOT NULL DEFAULT 1024,
    ADD COLUMN size_connections_before integer NOT NULL DEFAULT 60;
COMMENT ON TABLE project_upgrades IS 'Changes of a project''s content in progress (upgrades, resizes, and changes of settings and secrets), one row per project: what the project returns to if the change fails. The row is deleted when the operation ends.';
COMMENT ON COLUMN project_upgrades.size_before IS 'Size before the change.';
COMMENT ON COLUMN project_upgrades.size_cpu_before IS 'projects.size_cpu_millis before the change.';
COMMENT ON COLUMN project_upgrades.size_memory_before IS 'projects.size_memory_mib before the change.';
COMMENT ON COLUMN project_upgrades.size_disk_before IS 'projects.size_disk_mib before the change.';
COMMENT ON COLUMN project_upgrades.size_connections_before IS 'projects.size_connections before the change.';

ALTER TABLE operations DROP CONSTRAINT operations_kind_check;
ALTER TABLE operations ADD CONSTRAINT operations_kind_check CHECK (kind IN ('CREATE_PROJECT', 'START_PROJECT',
    'STOP_PROJECT', 'RESTART_PROJECT', 'DELETE_PROJECT', 'UNDELETE_PROJECT', 'UPGRADE_PROJECT', 'UPDATE_SETTINGS',
    'CHANGE_SECRETS', 'RESET_DATABASE_PASSWORD', 'ROTATE_JWT_SECRET', 'RESIZE_PROJECT'));

CREATE FUNCTION plan_sizes(p_organization uuid) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(x.sizes, p.project_sizes)
    FROM organization_entitlements e JOIN plans p ON p.name = e.plan
    LEFT JOIN entitlement_overrides x ON x.organization_id = e.organization_id AND x.entitlement = 'PROJECT_SIZES'
    WHERE e.organization_id = p_organization
$$;
COMMENT ON FUNCTION plan_sizes IS 'Sizes that an organization''s projects may have, smallest first: the override, else the plan''s.';

CREATE FUNCTION plan_take_size(p_organization uuid, p_size text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM id FROM organizations WHERE id = p_organization FOR NO KEY UPDATE;
    -- Another statement, so that it sees what was committed while the one before waited.
    RETURN coalesce(p_size = ANY (plan_sizes(p_organization)), false);
END
$$;
COMMENT ON FUNCTION plan_take_size IS 'Locks an organization, and returns whether its projects may have a size.';
