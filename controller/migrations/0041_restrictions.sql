-- Which rule bounds a project by what it holds on its disk.
ALTER TABLE projects
    ADD COLUMN restriction text CHECK (restriction IN ('DISK_FULL', 'DISK_LIMIT', 'DATABASE_OVER_PLAN')),
    ADD COLUMN restriction_message text NOT NULL DEFAULT '',
    ADD COLUMN restricted_at timestamptz,
    ADD CONSTRAINT projects_restricted CHECK ((restriction IS NULL) = (restricted_at IS NULL)
        AND (restriction IS NOT NULL OR restriction_message = '')
        AND (restriction IS NULL OR state NOT IN ('INACTIVE', 'REMOVED')));
COMMENT ON COLUMN projects.restriction IS 'Rule that bounds the project now, as its agent has reported it last; null if none does. Nothing bounds what does not run.';
COMMENT ON COLUMN projects.restriction_message IS 'For people: what the rule compares, and what it does.';
COMMENT ON COLUMN projects.restricted_at IS 'Since when that rule bounds it.';
