-- What the control plane does in the background, and how it last went.

CREATE TABLE job_results (
    job           text        NOT NULL,
    controller_id uuid        NOT NULL REFERENCES controllers (id) ON DELETE CASCADE,
    started_at    timestamptz NOT NULL DEFAULT now(),
    succeeded_at  timestamptz,
    failed_at     timestamptz,
    error         text        NOT NULL DEFAULT '',
    PRIMARY KEY (job, controller_id)
);
COMMENT ON TABLE job_results IS 'Last results of background jobs, one row per job and replica that ran it. Written when a result differs from the last one, and at least every few seconds.';
COMMENT ON COLUMN job_results.job IS 'Name of the job, room.what.';
COMMENT ON COLUMN job_results.controller_id IS 'Replica that ran it.';
COMMENT ON COLUMN job_results.started_at IS 'First run on this replica.';
COMMENT ON COLUMN job_results.succeeded_at IS 'Last run that succeeded; null if none did.';
COMMENT ON COLUMN job_results.failed_at IS 'Last run that failed; null if none did.';
COMMENT ON COLUMN job_results.error IS 'What the last failed run said, with its causes.';
