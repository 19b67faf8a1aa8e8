-- What projects use: minutes from the agents' records, hours and days rolled up from them.
CREATE TABLE project_usage (
    project_ref     text NOT NULL,
    step            text NOT NULL CHECK (step IN ('MINUTE', 'HOUR', 'DAY')),
    at              timestamptz NOT NULL,
    organization_id uuid NOT NULL,
    covered_ms bigint NOT NULL,
    cpu_us bigint NOT NULL,
    memory_kib_seconds bigint NOT NULL,
    memory_max_kib bigint NOT NULL,
    received_bytes bigint NOT NULL,
    sent_bytes bigint NOT NULL,
    read_bytes bigint NOT NULL,
    written_bytes bigint NOT NULL,
    database_bytes bigint,
    storage_bytes bigint,
    other_bytes bigint,
    PRIMARY KEY (project_ref, step, at)
) WITH (fillfactor = 90);
CREATE INDEX project_usage_age ON project_usage (step, at);
CREATE INDEX project_usage_organization ON project_usage (organization_id, step, at);
COMMENT ON TABLE project_usage IS 'What each project has used in each minute, hour and day. Rows outlive the project. Minutes are kept for 48 hours, hours for 90 days, days for two years.';
COMMENT ON COLUMN project_usage.project_ref IS 'Project; it may be gone.';
COMMENT ON COLUMN project_usage.step IS 'Length of the step: MINUTE is written by what the agents report, HOUR is the sum of minutes, DAY that of hours (UTC).';
COMMENT ON COLUMN project_usage.at IS 'Beginning of the step.';
COMMENT ON COLUMN project_usage.organization_id IS 'Organization of the project when it used this; it may be gone.';
COMMENT ON COLUMN project_usage.covered_ms IS 'How much of the step samples cover, in milliseconds; the sum of the records'' spans.';
COMMENT ON COLUMN project_usage.cpu_us IS 'Processor time in microseconds.';
COMMENT ON COLUMN project_usage.memory_kib_seconds IS 'Memory in KiB times the seconds that samples cover: divided by covered_ms / 1000 it is the mean.';
COMMENT ON COLUMN project_usage.memory_max_kib IS 'Highest sample of the memory in KiB; the containers'' highest samples added.';
COMMENT ON COLUMN project_usage.received_bytes IS 'Bytes that came from the network.';
COMMENT ON COLUMN project_usage.sent_bytes IS 'Bytes that went to the network.';
COMMENT ON COLUMN project_usage.read_bytes IS 'Bytes read from disks.';
COMMENT ON COLUMN project_usage.written_bytes IS 'Bytes written to disks.';
COMMENT ON COLUMN project_usage.database_bytes IS 'What the database''s volumes held; in a minute the last measurement, else the highest. Null: not measured in the step.';
COMMENT ON COLUMN project_usage.storage_bytes IS 'The same of the volume of the storage service.';
COMMENT ON COLUMN project_usage.other_bytes IS 'The same of all other volumes.';

CREATE TABLE cluster_usage (
    node_id    uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    step       text NOT NULL CHECK (step IN ('MINUTE', 'HOUR', 'DAY')),
    at         timestamptz NOT NULL,
    cluster_id uuid NOT NULL,
    covered_ms bigint NOT NULL,
    cpu_us bigint NOT NULL,
    memory_kib_seconds bigint NOT NULL,
    memory_max_kib bigint NOT NULL,
    received_bytes bigint NOT NULL,
    sent_bytes bigint NOT NULL,
    read_bytes bigint NOT NULL,
    written_bytes bigint NOT NULL,
    database_bytes bigint,
    storage_bytes bigint,
    other_bytes bigint,
    PRIMARY KEY (node_id, step, at)
) WITH (fillfactor = 90);
CREATE INDEX cluster_usage_age ON cluster_usage (step, at);
COMMENT ON TABLE cluster_usage IS 'The same for the nodes of clusters: what all projects on a node have used together.';
COMMENT ON COLUMN cluster_usage.node_id IS 'Node.';
COMMENT ON COLUMN cluster_usage.step IS 'As in project_usage.';
COMMENT ON COLUMN cluster_usage.at IS 'Beginning of the step.';
COMMENT ON COLUMN cluster_usage.cluster_id IS 'Cluster of the node.';
COMMENT ON COLUMN cluster_usage.covered_ms IS 'How much of the step samples cover, in milliseconds; the sum of the records'' spans.';
COMMENT ON COLUMN cluster_usage.cpu_us IS 'Processor time in microseconds.';
COMMENT ON COLUMN cluster_usage.memory_kib_seconds IS 'Memory in KiB times the seconds that samples cover: divided by covered_ms / 1000 it is the mean.';
COMMENT ON COLUMN cluster_usage.memory_max_kib IS 'Highest sample of the memory in KiB; the containers'' highest samples added.';
COMMENT ON COLUMN cluster_usage.received_bytes IS 'Bytes that came from the network.';
COMMENT ON COLUMN cluster_usage.sent_bytes IS 'Bytes that went to the network.';
COMMENT ON COLUMN cluster_usage.read_bytes IS 'Bytes read from disks.';
COMMENT ON COLUMN cluster_usage.written_bytes IS 'Bytes written to disks.';
COMMENT ON COLUMN cluster_usage.database_bytes IS 'What the database''s volumes held; in a minute the last measurement, else the highest. Null: not measured in the step.';
COMMENT ON COLUMN cluster_usage.storage_bytes IS 'The same of the volume of the storage service.';
COMMENT ON COLUMN cluster_usage.other_bytes IS 'The same of all other volumes.';

CREATE TABLE usage_nodes (
    node_id    uuid PRIMARY KEY REFERENCES nodes ON DELETE CASCADE,
    spool      text NOT NULL DEFAULT '',
    seq        bigint NOT NULL DEFAULT 0,
    at         timestamptz,
    counters   jsonb NOT NULL DEFAULT '{}',
    dropped    bigint NOT NULL DEFAULT 0,
    refused    bigint NOT NULL DEFAULT 0,
    refusal    text NOT NULL DEFAULT '',
    alarmed_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE usage_nodes IS 'How far the records of each node are stored. Locked while a batch of the node is stored, so that each record counts once, whoever sends it again.';
COMMENT ON COLUMN usage_nodes.node_id IS 'Node.';
COMMENT ON COLUMN usage_nodes.spool IS 'Identity of the agent''s spool; another one begins to count from 1.';
COMMENT ON COLUMN usage_nodes.seq IS 'Number of the newest record that is stored.';
COMMENT ON COLUMN usage_nodes.at IS 'When it was made, by the clock of the controllers; null before the first one.';
COMMENT ON COLUMN usage_nodes.counters IS 'Counters of each run of a container that were counted last, by the run''s identity.';
COMMENT ON COLUMN usage_nodes.dropped IS 'Records of this spool that the agent has dropped.';
COMMENT ON COLUMN usage_nodes.refused IS 'Reports that were refused.';
COMMENT ON COLUMN usage_nodes.refusal IS 'Why the newest of them was refused; empty if none was.';
COMMENT ON COLUMN usage_nodes.alarmed_at IS 'When the audit log last said so.';

CREATE TABLE usage_pending (
    hour    timestamptz NOT NULL,
    node_id uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    PRIMARY KEY (hour, node_id)
);
COMMENT ON TABLE usage_pending IS 'Hours that have new minutes and are to be rolled up.';
COMMENT ON COLUMN usage_pending.hour IS 'Beginning of the hour.';
COMMENT ON COLUMN usage_pending.node_id IS 'Node whose records have the minutes: nodes do not wait for each other.';
