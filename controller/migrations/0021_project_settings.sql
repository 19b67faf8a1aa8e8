-- Settings of projects, secrets of their functions, and changes of both.

ALTER TABLE operations DROP CONSTRAINT operations_kind_check;
ALTER TABLE operations ADD CONSTRAINT operations_kind_check CHECK (kind IN ('CREATE_PROJECT', 'START_PROJECT',
    'STOP_PROJECT', 'RESTART_PROJECT', 'DELETE_PROJECT', 'UNDELETE_PROJECT', 'UPGRADE_PROJECT', 'UPDATE_SETTINGS',
    'CHANGE_SECRETS', 'RESET_DATABASE_PASSWORD', 'ROTATE_JWT_SECRET'));

CREATE TABLE project_settings (
    project_ref text NOT NULL REFERENCES projects,
    version     bigint NOT NULL,
    sealed      bytea NOT NULL,
    PRIMARY KEY (project_ref, version)
);
ALTER TABLE project_settings ALTER COLUMN sealed SET STORAGE EXTERNAL;
COMMENT ON TABLE project_settings IS 'Settings of a project; none = the defaults. Two versions only while the newer one is being brought to the services; then the newer or, if that failed, the older one stays.';
COMMENT ON COLUMN project_settings.project_ref IS 'Project that has the settings.';
COMMENT ON COLUMN project_settings.version IS 'Generation that brings these settings to the services; the etag of the settings.';
COMMENT ON COLUMN project_settings.sealed IS 'Sealed settings as JSON; associated data: project, ref, settings, version.';

CREATE TABLE function_secrets (
    project_ref text NOT NULL REFERENCES projects,
    name        text NOT NULL,
    version     bigint NOT NULL,
    sealed      bytea,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_ref, name, version)
);
ALTER TABLE function_secrets ALTER COLUMN sealed SET STORAGE EXTERNAL;
COMMENT ON TABLE function_secrets IS 'Secrets of a project''s functions: environment variables. Two versions of one only while the newer one is being brought to the functions; then the newer or, if that failed, the older one stays.';
COMMENT ON COLUMN function_secrets.project_ref IS 'Project that owns the secret.';
COMMENT ON COLUMN function_secrets.name IS 'Name of the environment variable.';
COMMENT ON COLUMN function_secrets.version IS 'Generation that brings this value to the functions.';
COMMENT ON COLUMN function_secrets.sealed IS 'Sealed value; associated data: function-secret, ref, name, version. NULL = this version deletes the secret.';
COMMENT ON COLUMN function_secrets.changed_at IS 'When the version was written.';

COMMENT ON TABLE project_upgrades IS 'Changes of a project''s content in progress (upgrades, and changes of settings and secrets), one row per project: what the project returns to if the change fails. The row is deleted when the operation ends.';
COMMENT ON COLUMN project_upgrades.project_ref IS 'Project that is being changed.';
COMMENT ON COLUMN project_upgrades.operation_id IS 'Operation of the change.';
COMMENT ON COLUMN project_upgrades.from_release IS 'Stack release before the change.';
COMMENT ON COLUMN project_upgrades.to_release IS 'Stack release to which it moves; from_release unless it is an upgrade.';
COMMENT ON COLUMN project_upgrades.state_before IS 'State of the project before the change.';
COMMENT ON COLUMN project_upgrades.return_generation IS 'Generation with which return_spec is sealed: the one after the change.';
COMMENT ON COLUMN project_upgrades.return_spec IS 'Specification before the change, sealed as that of return_generation; project_specs gets it if the change fails.';
COMMENT ON COLUMN project_secrets.version IS 'Version of the secret: higher at each rotation. Two versions only while the newer one is being brought to the services.';
