-- The sizes that plans limit: what each plan does at its limits, and how near to them projects are.
ALTER TABLE plans ADD COLUMN at_size_limit text NOT NULL DEFAULT 'NOTIFY' CHECK (at_size_limit IN ('NOTIFY', 'READ_ONLY'));
COMMENT ON COLUMN plans.at_size_limit IS 'What happens to a project whose database holds database_mib: NOTIFY = its organization is told; READ_ONLY = its database starts transactions read-only, too.';
UPDATE plans SET at_size_limit = 'READ_ONLY' WHERE name = 'free';

CREATE OR REPLACE FUNCTION plan_limit(p_organization uuid, p_entitlement text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(x.number, CASE p_entitlement
        WHEN 'PROJECTS' THEN p.projects
        WHEN 'MEMBERS' THEN p.members
        WHEN 'PRIVATE_CLUSTERS' THEN p.private_clusters::int
        WHEN 'DATABASE_SIZE' THEN p.database_mib
        WHEN 'STORAGE_SIZE' THEN p.storage_mib
    END)
    FROM organization_entitlements e JOIN plans p ON p.name = e.plan
    LEFT JOIN entitlement_overrides x ON x.organization_id = e.organization_id AND x.entitlement = p_entitlement
    WHERE e.organization_id = p_organization
$$;

CREATE TABLE usage_sizes (
    project_ref    text NOT NULL REFERENCES projects ON DELETE CASCADE,
    entitlement    text NOT NULL CHECK (entitlement IN ('DATABASE_SIZE', 'STORAGE_SIZE')),
    level          text NOT NULL CHECK (level IN ('FINE', 'NEAR', 'OVER')),
    since          timestamptz NOT NULL DEFAULT now(),
    near_mailed_at timestamptz,
    over_mailed_at timestamptz,
    PRIMARY KEY (project_ref, entitlement)
);
CREATE INDEX usage_sizes_high ON usage_sizes (project_ref) WHERE level <> 'FINE';
COMMENT ON TABLE usage_sizes IS 'How near to its plan''s sizes each project is; no row = it never was near.';
COMMENT ON COLUMN usage_sizes.project_ref IS 'Project.';
COMMENT ON COLUMN usage_sizes.entitlement IS 'Which size.';
COMMENT ON COLUMN usage_sizes.level IS 'NEAR from 80 % of the limit until it is below 75 %, OVER from 100 % until it is below 95 %.';
COMMENT ON COLUMN usage_sizes.since IS 'Since when it has this level.';
COMMENT ON COLUMN usage_sizes.near_mailed_at IS 'When a mail last said NEAR: one a day at most.';
COMMENT ON COLUMN usage_sizes.over_mailed_at IS 'The same of OVER.';

ALTER TABLE organization_events DROP CONSTRAINT organization_events_type_check;
ALTER TABLE organization_events ADD CONSTRAINT organization_events_type_check CHECK (type IN ('organization.renamed', 'member.joined',
    'member.role_changed', 'member.removed', 'member.left', 'invitation.created', 'invitation.accepted', 'invitation.revoked',
    'project.created', 'project.state_changed', 'project.renamed', 'project.removed', 'project.joined', 'project.left',
    'operation.started', 'operation.succeeded', 'operation.failed', 'operation.cancelled',
    'project.size_near', 'project.size_over', 'project.size_fine'));
ALTER TABLE organization_events ADD COLUMN entitlement text CHECK (entitlement IN ('DATABASE_SIZE', 'STORAGE_SIZE'));
COMMENT ON COLUMN organization_events.entitlement IS 'Which size of the project it is about, for events about sizes.';
