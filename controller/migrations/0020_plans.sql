-- Plans, and what each organization may use: the limits of its plan, and overrides of them.
CREATE TABLE plans (
    name                 text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9-]{1,39}$'),
    display_name         text NOT NULL,
    price_cents          bigint NOT NULL CHECK (price_cents >= 0),
    projects             bigint NOT NULL CHECK (projects BETWEEN 0 AND 1000000000),
    database_mib         bigint NOT NULL CHECK (database_mib >= 0),
    storage_mib          bigint NOT NULL CHECK (storage_mib >= 0),
    function_invocations bigint NOT NULL CHECK (function_invocations >= 0),
    members              bigint NOT NULL CHECK (members >= 1),
    project_sizes        text[] NOT NULL CHECK (cardinality(project_sizes) > 0 AND project_sizes <@ '{nano,micro,small,medium,large}'),
    private_clusters     boolean NOT NULL,
    backup_days          bigint NOT NULL CHECK (backup_days >= 0),
    log_days             bigint NOT NULL CHECK (log_days >= 0),
    is_default           boolean NOT NULL DEFAULT false,
    revision             bigint NOT NULL DEFAULT 1,
    updated_at           timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX plans_default ON plans (is_default) WHERE is_default;
COMMENT ON TABLE plans IS 'Plans: named sets of limits, which the operator edits. Locked before organizations.';
COMMENT ON COLUMN plans.name IS 'Id everywhere, e.g. pro.';
COMMENT ON COLUMN plans.display_name IS 'Name to show.';
COMMENT ON COLUMN plans.price_cents IS 'Price of a month in hundredths of the currency in which the operator bills.';
COMMENT ON COLUMN plans.projects IS 'Maximum number of projects of an organization.';
COMMENT ON COLUMN plans.database_mib IS 'Maximum size of a project''s database in MiB.';
COMMENT ON COLUMN plans.storage_mib IS 'Maximum size of a project''s files in MiB.';
COMMENT ON COLUMN plans.function_invocations IS 'Maximum number of function invocations of an organization in a month.';
COMMENT ON COLUMN plans.members IS 'Maximum number of members of an organization.';
COMMENT ON COLUMN plans.project_sizes IS 'Sizes that a project may have, smallest first.';
COMMENT ON COLUMN plans.private_clusters IS 'Whether an organization may have private clusters.';
COMMENT ON COLUMN plans.backup_days IS 'Days for which backups are kept; 0 = there are none.';
COMMENT ON COLUMN plans.log_days IS 'Days for which logs are kept, the audit log of the organization too.';
COMMENT ON COLUMN plans.is_default IS 'Whether new organizations get it; exactly one plan has this.';
COMMENT ON COLUMN plans.revision IS 'Etag.';
COMMENT ON COLUMN plans.updated_at IS 'When it was changed last.';

INSERT INTO plans (name, display_name, price_cents, projects, database_mib, storage_mib, function_invocations, members, project_sizes,
    private_clusters, backup_days, log_days, is_default) VALUES
    ('free', 'Free', 0, 2, 500, 1024, 500000, 5, '{nano}', false, 0, 7, true),
    ('pro', 'Pro', 2500, 20, 5120, 102400, 2000000, 25, '{nano,micro,small,medium}', false, 7, 90, false),
    ('premium', 'Premium', 10000, 100, 20480, 512000, 10000000, 100, '{nano,micro,small,medium,large}', true, 30, 365, false);

CREATE TABLE organization_entitlements (
    organization_id uuid PRIMARY KEY REFERENCES organizations ON DELETE CASCADE,
    plan            text NOT NULL REFERENCES plans,
    reason          text NOT NULL,
    assigned_by     uuid,
    assigned_at     timestamptz NOT NULL DEFAULT now(),
    revision        bigint NOT NULL DEFAULT 1
);
CREATE INDEX organization_entitlements_plan ON organization_entitlements (plan);
COMMENT ON TABLE organization_entitlements IS 'Plan of each organization.';
COMMENT ON COLUMN organization_entitlements.organization_id IS 'Organization.';
COMMENT ON COLUMN organization_entitlements.plan IS 'Its plan.';
COMMENT ON COLUMN organization_entitlements.reason IS 'Why it has this plan, for people.';
COMMENT ON COLUMN organization_entitlements.assigned_by IS 'User who assigned it; null = the platform itself. The user may be gone.';
COMMENT ON COLUMN organization_entitlements.assigned_at IS 'When it was assigned.';
COMMENT ON COLUMN organization_entitlements.revision IS 'Etag of the plan and the overrides.';

CREATE TABLE entitlement_overrides (
    organization_id uuid NOT NULL REFERENCES organization_entitlements ON DELETE CASCADE,
    entitlement     text NOT NULL CHECK (entitlement IN ('PROJECTS', 'DATABASE_SIZE', 'STORAGE_SIZE', 'FUNCTION_INVOCATIONS', 'MEMBERS',
                        'PROJECT_SIZES', 'PRIVATE_CLUSTERS', 'BACKUP_DAYS', 'LOG_DAYS')),
    number          bigint CHECK (number >= 0),
    sizes           text[] CHECK (cardinality(sizes) > 0 AND sizes <@ '{nano,micro,small,medium,large}'),
    reason          text NOT NULL,
    set_by          uuid,
    set_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, entitlement),
    CHECK ((entitlement = 'PROJECT_SIZES') = (sizes IS NOT NULL) AND (entitlement = 'PROJECT_SIZES') = (number IS NULL)),
    CHECK (entitlement <> 'PRIVATE_CLUSTERS' OR number <= 1),
    CHECK (entitlement <> 'PROJECTS' OR number <= 1000000000)
);
COMMENT ON TABLE entitlement_overrides IS 'Entitlements of an organization that differ from those of its plan.';
COMMENT ON COLUMN entitlement_overrides.organization_id IS 'Organization.';
COMMENT ON COLUMN entitlement_overrides.entitlement IS 'What is overridden.';
COMMENT ON COLUMN entitlement_overrides.number IS 'The limit instead of the plan''s, in the unit of its column there; private clusters: 1 = yes. Null for PROJECT_SIZES.';
COMMENT ON COLUMN entitlement_overrides.sizes IS 'The sizes instead of the plan''s, for PROJECT_SIZES.';
COMMENT ON COLUMN entitlement_overrides.reason IS 'Why, for people.';
COMMENT ON COLUMN entitlement_overrides.set_by IS 'User who set it; null = the platform itself. The user may be gone.';
COMMENT ON COLUMN entitlement_overrides.set_at IS 'When it was set.';

-- What organizations use today stays allowed.
INSERT INTO organization_entitlements (organization_id, plan, reason)
    SELECT id, 'premium', 'the organization is older than the plans' FROM organizations;
INSERT INTO entitlement_overrides (organization_id, entitlement, number, reason)
    SELECT id, 'PROJECTS', projects_limit, 'the limit from before there were plans' FROM organizations
    WHERE projects_limit <> 100 AND deleted_at IS NULL;
INSERT INTO entitlement_overrides (organization_id, entitlement, number, reason)
    SELECT organization_id, 'MEMBERS', count(*), 'the members from before there were plans' FROM members GROUP BY 1 HAVING count(*) > 100;

ALTER TABLE organizations ALTER COLUMN projects_limit SET DEFAULT 0;
COMMENT ON COLUMN organizations.projects_limit IS
    'Maximum of projects_used: the entitlement PROJECTS, copied here so that a create takes its quota from the one row that it locks.';

CREATE FUNCTION plan_limit(p_organization uuid, p_entitlement text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(x.number, CASE p_entitlement
        WHEN 'PROJECTS' THEN p.projects
        WHEN 'MEMBERS' THEN p.members
        WHEN 'PRIVATE_CLUSTERS' THEN p.private_clusters::int
    END)
    FROM organization_entitlements e JOIN plans p ON p.name = e.plan
    LEFT JOIN entitlement_overrides x ON x.organization_id = e.organization_id AND x.entitlement = p_entitlement
    WHERE e.organization_id = p_organization
$$;
COMMENT ON FUNCTION plan_limit IS 'An organization''s limit of what the database itself bounds: the override, else the plan''s.';

CREATE FUNCTION plan_begin() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_plan plans%ROWTYPE;
BEGIN
    -- Waits for an operator who edits the plans; if another plan became the default meanwhile, the next look finds it.
    FOR attempt IN 1..3 LOOP
        SELECT * INTO v_plan FROM plans WHERE is_default FOR SHARE;
        EXIT WHEN FOUND;
    END LOOP;
    IF v_plan.name IS NULL THEN
        RAISE EXCEPTION 'there is no default plan';
    END IF;
    INSERT INTO organization_entitlements (organization_id, plan, reason) VALUES (NEW.id, v_plan.name, 'the default plan of new organizations');
    UPDATE organizations SET projects_limit = v_plan.projects WHERE id = NEW.id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION plan_begin IS 'Gives a new organization the default plan, whoever stores it.';
CREATE TRIGGER plan_begin AFTER INSERT ON organizations FOR EACH ROW EXECUTE FUNCTION plan_begin();

CREATE FUNCTION plan_settle(p_plan text, p_organization uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE organizations o SET projects_limit = plan_limit(o.id, 'PROJECTS'), revision = o.revision + 1
    FROM organization_entitlements e
    WHERE e.organization_id = o.id AND o.deleted_at IS NULL AND (e.plan = p_plan OR o.id = p_organization);
END
$$;
COMMENT ON FUNCTION plan_settle IS 'Copies the limit of projects to the rows of a plan''s organizations, or of one organization, after a change. The caller has locked them.';

CREATE FUNCTION plan_take_member(p_organization uuid) RETURNS TABLE (used bigint, allowed bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM id FROM organizations WHERE id = p_organization FOR NO KEY UPDATE;
    -- Another statement, so that it sees what was committed while the one before waited.
    RETURN QUERY SELECT (SELECT count(*) FROM members m WHERE m.organization_id = p_organization),
        plan_limit(p_organization, 'MEMBERS');
END
$$;
COMMENT ON FUNCTION plan_take_member IS 'Locks an organization, and returns how many members it has and may have.';

CREATE FUNCTION plan_take_private_cluster(p_organization uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM id FROM organizations WHERE id = p_organization FOR NO KEY UPDATE;
    RETURN coalesce(plan_limit(p_organization, 'PRIVATE_CLUSTERS') > 0, false);
END
$$;
COMMENT ON FUNCTION plan_take_private_cluster IS 'Locks an organization, and returns whether it may have private clusters.';
