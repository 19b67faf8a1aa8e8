-- A control database that was restored from a backup: agents that are ahead of it say so, and purges wait for an operator.

ALTER TABLE platform
    ADD COLUMN incarnation uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN restore_seen_at timestamptz,
    ADD COLUMN restore_detail text NOT NULL DEFAULT '';
COMMENT ON COLUMN platform.incarnation IS 'Identity of this database; another one after an operator has confirmed a restore.';
COMMENT ON COLUMN platform.restore_seen_at IS
    'When an agent was first found ahead of this database, which then was restored from a backup. NULL = no unconfirmed restore. Until an operator confirms it, no undo window ends.';
COMMENT ON COLUMN platform.restore_detail IS 'What showed that the database was restored, for people.';
