-- The explicit act that makes lost data volumes anew, empty. It holds for one generation only.
ALTER TABLE projects
    ADD COLUMN new_volumes text[] NOT NULL DEFAULT '{}'
        CONSTRAINT projects_few_new_volumes CHECK (cardinality(new_volumes) <= 32),
    ADD COLUMN new_volumes_for bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN projects.new_volumes IS 'Short names of data volumes that the agent may make anew, empty, if they are lost.';
COMMENT ON COLUMN projects.new_volumes_for IS 'The generation for which new_volumes holds; in every other one no data volume is made anew.';
