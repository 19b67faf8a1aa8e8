-- The first schema of the control plane. Times are from the database's clock. Enumerations are text with a CHECK, spelled
-- as in the protos without the prefix. The vault seals secrets before they are stored here.

CREATE TABLE users (
    id            uuid PRIMARY KEY,
    email         text NOT NULL UNIQUE CHECK (email = lower(email)),
    display_name  text NOT NULL,
    password_hash text NOT NULL,
    operator      boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE users IS 'People who sign in to the platform.';
COMMENT ON COLUMN users.id IS 'UUIDv7; usr_… on the wire.';
COMMENT ON COLUMN users.email IS 'E-mail address, lower case.';
COMMENT ON COLUMN users.display_name IS 'Name that clients show.';
COMMENT ON COLUMN users.password_hash IS 'Argon2id, PHC string.';
COMMENT ON COLUMN users.operator IS 'True for the operator of the platform.';
COMMENT ON COLUMN users.created_at IS 'When the account was created.';

CREATE TABLE user_sessions (
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    refresh_hash  bytea NOT NULL UNIQUE,
    previous_hash bytea UNIQUE,
    in_cookie     boolean NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    ended_at      timestamptz
);
CREATE INDEX user_sessions_user ON user_sessions (user_id);
COMMENT ON TABLE user_sessions IS 'Sessions of users. A refresh token works once; a second use ends the session.';
COMMENT ON COLUMN user_sessions.id IS 'UUIDv7; claim sid of access tokens.';
COMMENT ON COLUMN user_sessions.user_id IS 'User who signed in.';
COMMENT ON COLUMN user_sessions.refresh_hash IS 'SHA-256 of the currently valid refresh token.';
COMMENT ON COLUMN user_sessions.previous_hash IS 'SHA-256 of the refresh token before it. Somebody who uses that one has stolen it.';
COMMENT ON COLUMN user_sessions.in_cookie IS 'True if the controller delivers the refresh token as a cookie.';
COMMENT ON COLUMN user_sessions.created_at IS 'When the user signed in.';
COMMENT ON COLUMN user_sessions.expires_at IS 'When the refresh token expires.';
COMMENT ON COLUMN user_sessions.ended_at IS 'When the user signed out, or when a stolen refresh token ended the session.';

CREATE TABLE platform_secrets (
    name       text PRIMARY KEY,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE platform_secrets IS 'The platform''s own secrets (CA key, token signing key), sealed under the master key, so that every replica can use them.';
COMMENT ON COLUMN platform_secrets.name IS 'Name of the secret, e.g. token-signing-key.';
COMMENT ON COLUMN platform_secrets.sealed IS 'Sealed value; associated data: platform, name.';
COMMENT ON COLUMN platform_secrets.created_at IS 'When a controller generated it.';

CREATE TABLE platform (
    singleton        boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    fleet_id         text NOT NULL,
    setup_token_hash bytea
);
COMMENT ON TABLE platform IS 'Properties of the installation, in one row.';
COMMENT ON COLUMN platform.singleton IS 'Always true, so that the table has one row.';
COMMENT ON COLUMN platform.fleet_id IS 'Label value that marks the containers of this installation.';
COMMENT ON COLUMN platform.setup_token_hash IS 'SHA-256 of the one-time setup token; null once the first user exists.';

CREATE TABLE controllers (
    id         uuid PRIMARY KEY,
    address    text NOT NULL,
    version    text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE controllers IS 'Controller replicas.';
COMMENT ON COLUMN controllers.id IS 'UUIDv7; each start of a controller gets a new one.';
COMMENT ON COLUMN controllers.address IS 'Address of its node port, host:port.';
COMMENT ON COLUMN controllers.version IS 'Version of the program.';
COMMENT ON COLUMN controllers.started_at IS 'When the controller started.';
COMMENT ON COLUMN controllers.seen_at IS 'Last heartbeat; the controller writes it every 5 s.';

CREATE TABLE leases (
    name       text PRIMARY KEY,
    holder     uuid NOT NULL,
    epoch      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE leases IS 'Jobs that one replica runs at a time. The epoch fences the writes of such a job.';
COMMENT ON COLUMN leases.name IS 'Name of the job that the lease protects.';
COMMENT ON COLUMN leases.holder IS 'Controller that holds the lease.';
COMMENT ON COLUMN leases.epoch IS 'Fencing number: +1 at each change of holder.';
COMMENT ON COLUMN leases.expires_at IS 'When the lease expires, by the database''s clock.';

CREATE TABLE organizations (
    id             uuid PRIMARY KEY,
    slug           text NOT NULL UNIQUE CHECK (slug ~ '^[a-z][a-z0-9-]{1,39}$'),
    name           text NOT NULL,
    projects_used  integer NOT NULL DEFAULT 0 CHECK (projects_used >= 0),
    projects_limit integer NOT NULL,
    revision       bigint NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (projects_used <= projects_limit)
);
COMMENT ON TABLE organizations IS 'Owners of projects. Locked before nodes and projects.';
COMMENT ON COLUMN organizations.id IS 'UUIDv7; org_… on the wire.';
COMMENT ON COLUMN organizations.slug IS 'Readable id, unique.';
COMMENT ON COLUMN organizations.name IS 'Name that clients show.';
COMMENT ON COLUMN organizations.projects_used IS 'Number of its projects that are not REMOVED.';
COMMENT ON COLUMN organizations.projects_limit IS 'Maximum of projects_used.';
COMMENT ON COLUMN organizations.revision IS 'Etag: +1 at each update.';
COMMENT ON COLUMN organizations.created_at IS 'When the organization was created.';

CREATE TABLE members (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    user_id         uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role            text NOT NULL CHECK (role IN ('OWNER', 'ADMINISTRATOR', 'DEVELOPER', 'READ_ONLY')),
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX members_user ON members (user_id);
COMMENT ON TABLE members IS 'Members of organizations and their roles.';
COMMENT ON COLUMN members.organization_id IS 'Organization that the user belongs to.';
COMMENT ON COLUMN members.user_id IS 'The member.';
COMMENT ON COLUMN members.role IS 'Role of the user; it decides what the user may do in the organization.';
COMMENT ON COLUMN members.created_at IS 'When the user became a member.';

CREATE TABLE clusters (
    id                uuid PRIMARY KEY,
    name              text NOT NULL UNIQUE,
    kind              text NOT NULL CHECK (kind IN ('SHARED', 'PRIVATE')),
    cpu_overcommit    real NOT NULL DEFAULT 8 CHECK (cpu_overcommit >= 1),
    memory_overcommit real NOT NULL DEFAULT 1.5 CHECK (memory_overcommit >= 1),
    created_at        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE clusters IS 'Sets of nodes on which the scheduler places projects.';
COMMENT ON COLUMN clusters.id IS 'UUIDv7; clu_… on the wire.';
COMMENT ON COLUMN clusters.name IS 'Name, unique in the fleet.';
COMMENT ON COLUMN clusters.kind IS 'SHARED serves many organizations, PRIVATE one.';
COMMENT ON COLUMN clusters.cpu_overcommit IS 'Factor by which the reserved cpu of a node may exceed its cores.';
COMMENT ON COLUMN clusters.memory_overcommit IS 'Factor by which the reserved memory of a node may exceed its memory.';
COMMENT ON COLUMN clusters.created_at IS 'When the cluster was created.';

CREATE TABLE join_tokens (
    id          uuid PRIMARY KEY,
    cluster_id  uuid NOT NULL REFERENCES clusters,
    secret_hash bytea NOT NULL,
    max_uses    integer NOT NULL CHECK (max_uses > 0),
    uses        integer NOT NULL DEFAULT 0 CHECK (uses >= 0),
    expires_at  timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (uses <= max_uses)
);
COMMENT ON TABLE join_tokens IS 'Tokens with which hosts join a cluster.';
COMMENT ON COLUMN join_tokens.id IS 'UUIDv7; part of the token.';
COMMENT ON COLUMN join_tokens.cluster_id IS 'Cluster that hosts join with the token.';
COMMENT ON COLUMN join_tokens.secret_hash IS 'SHA-256 of the token''s secret part.';
COMMENT ON COLUMN join_tokens.max_uses IS 'How many hosts may join with the token.';
COMMENT ON COLUMN join_tokens.uses IS 'How many hosts have joined with the token.';
COMMENT ON COLUMN join_tokens.expires_at IS 'When the token expires.';
COMMENT ON COLUMN join_tokens.created_at IS 'When the operator created the token.';

CREATE TABLE nodes (
    id                uuid PRIMARY KEY,
    cluster_id        uuid NOT NULL REFERENCES clusters,
    name              text NOT NULL,
    key_sha256        bytea NOT NULL,
    schedulable       boolean NOT NULL DEFAULT true,
    session_epoch     bigint NOT NULL DEFAULT 0,
    boot_id           text NOT NULL DEFAULT '',
    agent_version     text NOT NULL DEFAULT '',
    engine_version    text NOT NULL DEFAULT '',
    advertise_address text NOT NULL DEFAULT '',
    port_base         integer NOT NULL DEFAULT 0,
    network_range     inet NOT NULL DEFAULT '0.0.0.0/0',
    cpu_cap           integer NOT NULL DEFAULT 0,
    cpu_used          integer NOT NULL DEFAULT 0 CHECK (cpu_used >= 0),
    memory_cap        integer NOT NULL DEFAULT 0,
    memory_used       integer NOT NULL DEFAULT 0 CHECK (memory_used >= 0),
    disk_cap          bigint NOT NULL DEFAULT 0,
    disk_used         bigint NOT NULL DEFAULT 0 CHECK (disk_used >= 0),
    slots             integer NOT NULL DEFAULT 0,
    taken_slots       int4multirange NOT NULL DEFAULT '{}',
    blocked_slots     int4multirange NOT NULL DEFAULT '{}',
    blocked_reasons   text[] NOT NULL DEFAULT '{}',
    last_slot         integer,
    start_failures    integer NOT NULL DEFAULT 0,
    last_failure_at   timestamptz,
    unexplained       text[] NOT NULL DEFAULT '{}',
    seen_at           timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (cluster_id, name)
);
COMMENT ON TABLE nodes IS 'Docker hosts. The row counts the reservations on the host. Locked after the organization, before the project.';
COMMENT ON COLUMN nodes.id IS 'UUIDv7; nod_… on the wire.';
COMMENT ON COLUMN nodes.cluster_id IS 'Cluster that the host joined.';
COMMENT ON COLUMN nodes.name IS 'Host name, unique in the cluster.';
COMMENT ON COLUMN nodes.key_sha256 IS 'SHA-256 of the enrolled public key (SPKI).';
COMMENT ON COLUMN nodes.schedulable IS 'True if the scheduler may place new projects on the node.';
COMMENT ON COLUMN nodes.session_epoch IS 'Epoch of the newest session, +1 at each connect.';
COMMENT ON COLUMN nodes.boot_id IS 'Boot id of the host at the last Hello.';
COMMENT ON COLUMN nodes.agent_version IS 'Version of the agent at the last Hello.';
COMMENT ON COLUMN nodes.engine_version IS 'Version of the Docker Engine at the last Hello.';
COMMENT ON COLUMN nodes.advertise_address IS 'Address at which users reach published ports.';
COMMENT ON COLUMN nodes.port_base IS 'First port of slot 0.';
COMMENT ON COLUMN nodes.network_range IS 'Range that contains the slots'' /27 networks.';
COMMENT ON COLUMN nodes.cpu_cap IS 'Millicores that projects may reserve, including overcommit.';
COMMENT ON COLUMN nodes.cpu_used IS 'Millicores that placements have reserved.';
COMMENT ON COLUMN nodes.memory_cap IS 'MiB of memory that projects may reserve, including overcommit.';
COMMENT ON COLUMN nodes.memory_used IS 'MiB of memory that placements have reserved.';
COMMENT ON COLUMN nodes.disk_cap IS 'MiB of disk that projects may reserve.';
COMMENT ON COLUMN nodes.disk_used IS 'MiB of disk that placements have reserved.';
COMMENT ON COLUMN nodes.slots IS 'Number of slots.';
COMMENT ON COLUMN nodes.taken_slots IS 'Slots that placements hold.';
COMMENT ON COLUMN nodes.blocked_slots IS 'Slots that cannot be used, because another program holds a port or network.';
COMMENT ON COLUMN nodes.blocked_reasons IS 'Holder of the port or network of each blocked slot.';
COMMENT ON COLUMN nodes.last_slot IS 'Slot taken by the newest placement; lets the placing UPDATE return it.';
COMMENT ON COLUMN nodes.start_failures IS 'Consecutive failed starts on the node.';
COMMENT ON COLUMN nodes.last_failure_at IS 'When the newest start failed.';
COMMENT ON COLUMN nodes.unexplained IS 'Refs of projects that run on the host although no placement puts them there.';
COMMENT ON COLUMN nodes.seen_at IS 'When a frame last came from the agent; each replica writes it every 5 s.';
COMMENT ON COLUMN nodes.created_at IS 'When the host joined.';

CREATE TABLE certificates (
    serial     text PRIMARY KEY,
    node_id    uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    key_sha256 bytea NOT NULL,
    not_before timestamptz NOT NULL,
    not_after  timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX certificates_node ON certificates (node_id);
COMMENT ON TABLE certificates IS 'Node certificates that the controller has issued.';
COMMENT ON COLUMN certificates.serial IS 'Serial number, hex.';
COMMENT ON COLUMN certificates.node_id IS 'Node that the certificate identifies.';
COMMENT ON COLUMN certificates.key_sha256 IS 'SHA-256 of the public key (SPKI).';
COMMENT ON COLUMN certificates.not_before IS 'Start of validity.';
COMMENT ON COLUMN certificates.not_after IS 'End of validity.';
COMMENT ON COLUMN certificates.created_at IS 'When the controller issued it.';

CREATE TABLE node_sessions (
    node_id       uuid PRIMARY KEY REFERENCES nodes ON DELETE CASCADE,
    controller_id uuid NOT NULL,
    epoch         bigint NOT NULL,
    connected_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE node_sessions IS 'Which replica holds a node''s session; compare-and-swap on epoch.';
COMMENT ON COLUMN node_sessions.node_id IS 'Node that is connected.';
COMMENT ON COLUMN node_sessions.controller_id IS 'Replica that holds the session.';
COMMENT ON COLUMN node_sessions.epoch IS 'Epoch of the session.';
COMMENT ON COLUMN node_sessions.connected_at IS 'When the session began.';

CREATE TABLE projects (
    ref                text PRIMARY KEY CHECK (ref ~ '^[a-z]{20}$'),
    organization_id    uuid NOT NULL REFERENCES organizations,
    cluster_id         uuid NOT NULL REFERENCES clusters,
    name               text NOT NULL,
    release            text NOT NULL,
    state              text NOT NULL CHECK (state IN ('COMING_UP', 'ACTIVE_HEALTHY', 'ACTIVE_UNHEALTHY', 'PAUSING', 'INACTIVE',
                           'RESTARTING', 'RESIZING', 'RESTORING', 'UPGRADING', 'GOING_DOWN', 'REMOVED', 'INIT_FAILED',
                           'PAUSE_FAILED', 'RESTORE_FAILED', 'UNKNOWN')),
    state_reason       text NOT NULL DEFAULT '',
    desired            text NOT NULL CHECK (desired IN ('RUNNING', 'STOPPED', 'REMOVED')),
    desired_before_delete text CHECK (desired_before_delete IN ('RUNNING', 'STOPPED')),
    generation         bigint NOT NULL,
    restart_token      text NOT NULL DEFAULT '',
    event_seq          bigint NOT NULL,
    revision           bigint NOT NULL DEFAULT 1,
    cpu_millis         integer NOT NULL,
    memory_mib         integer NOT NULL,
    disk_mib           bigint NOT NULL,
    services           jsonb NOT NULL DEFAULT '[]',
    created_at         timestamptz NOT NULL DEFAULT now(),
    deleted_at         timestamptz,
    purge_at           timestamptz,
    removed_at         timestamptz
);
CREATE UNIQUE INDEX projects_name ON projects (organization_id, name) WHERE state <> 'REMOVED';
CREATE INDEX projects_organization ON projects (organization_id, created_at DESC, ref);
CREATE INDEX projects_purge ON projects (purge_at) WHERE purge_at IS NOT NULL;
COMMENT ON TABLE projects IS 'Backends of tenants. Lock order: last.';
COMMENT ON COLUMN projects.ref IS '20 lower-case letters. Never used twice: rows of removed projects stay.';
COMMENT ON COLUMN projects.organization_id IS 'Organization that owns the project.';
COMMENT ON COLUMN projects.cluster_id IS 'Cluster whose nodes may run the project.';
COMMENT ON COLUMN projects.name IS 'Name that clients show, unique in the organization.';
COMMENT ON COLUMN projects.release IS 'Name of its stack release.';
COMMENT ON COLUMN projects.state IS 'State that clients see.';
COMMENT ON COLUMN projects.state_reason IS 'Why the project is in that state, for people.';
COMMENT ON COLUMN projects.desired IS 'Desired state. Only acts of callers change it.';
COMMENT ON COLUMN projects.desired_before_delete IS 'Desired state that UndeleteProject restores.';
COMMENT ON COLUMN projects.generation IS 'Version of the desired state.';
COMMENT ON COLUMN projects.restart_token IS 'Random text; a new value makes the agent restart the containers once.';
COMMENT ON COLUMN projects.event_seq IS 'Sequence number of the newest event.';
COMMENT ON COLUMN projects.revision IS 'Etag: +1 at each update.';
COMMENT ON COLUMN projects.cpu_millis IS 'Millicores that its placement reserves.';
COMMENT ON COLUMN projects.memory_mib IS 'MiB of memory that its placement reserves.';
COMMENT ON COLUMN projects.disk_mib IS 'MiB of disk that its placement reserves.';
COMMENT ON COLUMN projects.services IS 'Observed services of the current generation: [{name, state, message}].';
COMMENT ON COLUMN projects.created_at IS 'When the project was created.';
COMMENT ON COLUMN projects.deleted_at IS 'When a caller deleted it; null if nobody did.';
COMMENT ON COLUMN projects.purge_at IS 'End of the undo window: when the controller deletes its data.';
COMMENT ON COLUMN projects.removed_at IS 'When nothing of the project was left on its node.';

CREATE TABLE project_secrets (
    project_ref text NOT NULL REFERENCES projects,
    name        text NOT NULL,
    version     integer NOT NULL,
    sealed      bytea NOT NULL,
    PRIMARY KEY (project_ref, name, version)
);
COMMENT ON TABLE project_secrets IS 'A project''s secrets, sealed. The controller deletes them when it removes the project.';
COMMENT ON COLUMN project_secrets.project_ref IS 'Project that owns the secret.';
COMMENT ON COLUMN project_secrets.name IS 'Name of the secret.';
COMMENT ON COLUMN project_secrets.version IS 'Version of the secret, +1 at each rotation.';
COMMENT ON COLUMN project_secrets.sealed IS 'Sealed value; associated data: project, ref, name, version.';

CREATE TABLE project_specs (
    project_ref text NOT NULL REFERENCES projects,
    generation  bigint NOT NULL,
    sealed      bytea NOT NULL,
    PRIMARY KEY (project_ref, generation)
);
COMMENT ON TABLE project_specs IS 'Rendered stack specifications. The controller renders one per change, with the generation that first uses it.';
COMMENT ON COLUMN project_specs.project_ref IS 'Project that the specification describes.';
COMMENT ON COLUMN project_specs.generation IS 'First generation that uses this specification.';
COMMENT ON COLUMN project_specs.sealed IS 'Sealed StackSpec; associated data: project, ref, stack-spec, generation.';

CREATE TABLE placements (
    project_ref        text NOT NULL REFERENCES projects,
    node_id            uuid NOT NULL REFERENCES nodes,
    role               text NOT NULL CHECK (role IN ('ACTIVE', 'INCOMING', 'OUTGOING')),
    slot               integer NOT NULL,
    port_base          integer NOT NULL,
    subnet             inet NOT NULL,
    host               text NOT NULL,
    holds_compute      boolean NOT NULL DEFAULT true,
    applied_generation bigint NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_ref, node_id),
    UNIQUE (node_id, slot)
);
CREATE UNIQUE INDEX placements_one_active ON placements (project_ref) WHERE role = 'ACTIVE';
COMMENT ON TABLE placements IS 'Node and slot of each placed project.';
COMMENT ON COLUMN placements.project_ref IS 'Project that is placed.';
COMMENT ON COLUMN placements.node_id IS 'Node that has the project.';
COMMENT ON COLUMN placements.role IS 'ACTIVE, or one end of a move.';
COMMENT ON COLUMN placements.slot IS 'The project''s slot on the node; it determines ports and network.';
COMMENT ON COLUMN placements.port_base IS 'First port of the slot''s block; fixed at placement.';
COMMENT ON COLUMN placements.subnet IS 'The slot''s /27; fixed at placement.';
COMMENT ON COLUMN placements.host IS 'Address at which users reach published ports; fixed at placement.';
COMMENT ON COLUMN placements.holds_compute IS 'True while the placement reserves cpu and memory; false while the project is stopped.';
COMMENT ON COLUMN placements.applied_generation IS 'Newest generation that the agent has stored; 0 = unknown or none.';
COMMENT ON COLUMN placements.created_at IS 'When the scheduler placed the project.';

CREATE TABLE project_endpoints (
    project_ref text NOT NULL REFERENCES projects,
    service     text NOT NULL,
    scheme      text NOT NULL,
    host        text NOT NULL,
    port        integer NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('node_port', 'domain')),
    PRIMARY KEY (project_ref, service, kind, host, port)
);
COMMENT ON TABLE project_endpoints IS 'Addresses of projects; the only source of public URLs.';
COMMENT ON COLUMN project_endpoints.project_ref IS 'Project that the address belongs to.';
COMMENT ON COLUMN project_endpoints.service IS 'Service that answers at the address.';
COMMENT ON COLUMN project_endpoints.scheme IS 'http, https or postgresql.';
COMMENT ON COLUMN project_endpoints.host IS 'Host name or IP address.';
COMMENT ON COLUMN project_endpoints.port IS 'TCP port.';
COMMENT ON COLUMN project_endpoints.kind IS 'Port of the node, or domain name.';

CREATE TABLE operations (
    id             uuid PRIMARY KEY,
    project_ref    text NOT NULL REFERENCES projects,
    kind           text NOT NULL CHECK (kind IN ('CREATE_PROJECT', 'START_PROJECT', 'STOP_PROJECT', 'RESTART_PROJECT',
                       'DELETE_PROJECT', 'UNDELETE_PROJECT')),
    state          text NOT NULL CHECK (state IN ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    generation     bigint NOT NULL,
    status_message text NOT NULL DEFAULT '',
    error_reason   text,
    error_message  text,
    error_service  text,
    error_log      text[],
    created_by     uuid REFERENCES users,
    created_at     timestamptz NOT NULL DEFAULT now(),
    deadline       timestamptz,
    ended_at       timestamptz
);
CREATE UNIQUE INDEX operations_one_open ON operations (project_ref) WHERE state IN ('PENDING', 'RUNNING');
CREATE INDEX operations_project ON operations (project_ref, created_at DESC, id DESC);
CREATE INDEX operations_deadline ON operations (deadline) WHERE state = 'RUNNING';
CREATE INDEX operations_pending ON operations (created_at) WHERE state = 'PENDING';
COMMENT ON TABLE operations IS 'Operations on projects; a project has at most one open operation.';
COMMENT ON COLUMN operations.id IS 'UUIDv7; opr_… on the wire.';
COMMENT ON COLUMN operations.project_ref IS 'Project that the operation works on.';
COMMENT ON COLUMN operations.kind IS 'RPC that started the operation, e.g. CREATE_PROJECT.';
COMMENT ON COLUMN operations.state IS 'PENDING waits for capacity on a node and has no deadline.';
COMMENT ON COLUMN operations.generation IS 'The operation succeeds when the agent reports this generation as done.';
COMMENT ON COLUMN operations.status_message IS 'Current step or the reason for waiting, for people.';
COMMENT ON COLUMN operations.error_reason IS 'Stable reason of a failed or cancelled operation.';
COMMENT ON COLUMN operations.error_message IS 'Why it failed, for people.';
COMMENT ON COLUMN operations.error_service IS 'Service that failed, if one did.';
COMMENT ON COLUMN operations.error_log IS 'Last log lines of that service''s container.';
COMMENT ON COLUMN operations.created_by IS 'Caller who started it.';
COMMENT ON COLUMN operations.created_at IS 'When the call started it.';
COMMENT ON COLUMN operations.deadline IS 'When it fails if it is still RUNNING.';
COMMENT ON COLUMN operations.ended_at IS 'When it ended.';

CREATE TABLE project_events (
    project_ref  text NOT NULL REFERENCES projects,
    seq          bigint NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    type         text NOT NULL,
    message      text NOT NULL,
    service      text NOT NULL DEFAULT '',
    percent      integer NOT NULL DEFAULT 0,
    state        text NOT NULL,
    operation_id uuid,
    PRIMARY KEY (project_ref, seq)
);
COMMENT ON TABLE project_events IS 'Events of projects, numbered without gaps by a counter in the project''s row.';
COMMENT ON COLUMN project_events.project_ref IS 'Project that the event belongs to.';
COMMENT ON COLUMN project_events.seq IS 'Sequence number in the project, from 1.';
COMMENT ON COLUMN project_events.at IS 'When the event happened.';
COMMENT ON COLUMN project_events.type IS 'Stable type of the event.';
COMMENT ON COLUMN project_events.message IS 'What happened, for people.';
COMMENT ON COLUMN project_events.service IS 'Service that the event concerns, if any.';
COMMENT ON COLUMN project_events.percent IS 'Progress of an image pull, 0 to 100.';
COMMENT ON COLUMN project_events.state IS 'State of the project after the event.';
COMMENT ON COLUMN project_events.operation_id IS 'Operation that the event belongs to, if any.';

CREATE TABLE requests (
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    method      text NOT NULL,
    request_id  uuid NOT NULL,
    body_sha256 bytea NOT NULL,
    resource    text NOT NULL,
    operation   uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, method, request_id)
);
CREATE INDEX requests_created ON requests (created_at);
COMMENT ON TABLE requests IS 'Answered calls that carried a request_id, kept for 24 h.';
COMMENT ON COLUMN requests.user_id IS 'Caller that sent the request.';
COMMENT ON COLUMN requests.method IS 'RPC that was called.';
COMMENT ON COLUMN requests.request_id IS 'Idempotency key that the caller chose.';
COMMENT ON COLUMN requests.body_sha256 IS 'SHA-256 of the request; the controller refuses the same key with another body.';
COMMENT ON COLUMN requests.resource IS 'What the call created: project ref or organization slug.';
COMMENT ON COLUMN requests.operation IS 'Operation that the call started.';
COMMENT ON COLUMN requests.created_at IS 'When the controller returned the first response.';

CREATE TABLE audit_log (
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,
    method     text NOT NULL,
    target     text NOT NULL,
    outcome    text NOT NULL,
    client     text NOT NULL,
    trace_id   text NOT NULL,
    seq        bigint UNIQUE,
    chain_hash bytea
);
CREATE INDEX audit_log_unsealed ON audit_log (at, id) WHERE seq IS NULL;
COMMENT ON TABLE audit_log IS 'Who did what. Append-only; a background job chains the rows by hash about a second later.';
COMMENT ON COLUMN audit_log.id IS 'UUIDv7 of the row.';
COMMENT ON COLUMN audit_log.at IS 'When the act happened.';
COMMENT ON COLUMN audit_log.actor IS 'Who acted: usr_…, nod_…, or anonymous.';
COMMENT ON COLUMN audit_log.method IS 'RPC, or name of the background act.';
COMMENT ON COLUMN audit_log.target IS 'Object that was changed.';
COMMENT ON COLUMN audit_log.outcome IS 'OK or the gRPC code of the refusal.';
COMMENT ON COLUMN audit_log.client IS 'IP address of the client.';
COMMENT ON COLUMN audit_log.trace_id IS 'Trace id of the call; the controller''s log has it too.';
COMMENT ON COLUMN audit_log.seq IS 'Place in the hash chain; null until the sealer has chained the row.';
COMMENT ON COLUMN audit_log.chain_hash IS 'SHA-256 over the row and the hash of the row before it.';

CREATE FUNCTION placement_conflict(what text) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'SL001', MESSAGE = what;
END $$;
COMMENT ON FUNCTION placement_conflict IS 'Raises SL001, so that PostgreSQL undoes a placing statement that cannot reserve what it needs.';

CREATE FUNCTION append_event(p_ref text, p_type text, p_message text, p_service text, p_percent integer, p_operation uuid)
RETURNS bigint LANGUAGE sql AS $$
    WITH numbered AS (
        UPDATE projects SET event_seq = event_seq + 1 WHERE ref = p_ref RETURNING event_seq, state
    )
    INSERT INTO project_events (project_ref, seq, type, message, service, percent, state, operation_id)
    SELECT p_ref, event_seq, p_type, p_message, p_service, p_percent, state, p_operation FROM numbered
    RETURNING seq
$$;
COMMENT ON FUNCTION append_event IS 'Appends an event with the next sequence number of its project.';

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.seq IS NULL AND NEW.seq IS NOT NULL
       AND (NEW.id, NEW.at, NEW.actor, NEW.method, NEW.target, NEW.outcome, NEW.client, NEW.trace_id)
         = (OLD.id, OLD.at, OLD.actor, OLD.method, OLD.target, OLD.outcome, OLD.client, OLD.trace_id) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only';
END $$;
COMMENT ON FUNCTION audit_is_append_only IS 'Rejects every change except the sealing of a row.';
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();

CREATE FUNCTION range_agg_or_empty(ranges int4range[]) RETURNS int4multirange LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(range_agg(r), '{}') FROM unnest(ranges) AS r
$$;
COMMENT ON FUNCTION range_agg_or_empty IS 'Merges ranges into one multirange.';

CREATE FUNCTION first_free_slot(slots integer, taken int4multirange, blocked int4multirange) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$ SELECT lower(int4multirange(int4range(0, slots)) - taken - blocked) $$;
COMMENT ON FUNCTION first_free_slot IS 'Lowest slot of a node that is neither taken nor blocked; null if there is none.';

CREATE FUNCTION one_slot(slot integer) RETURNS int4multirange
LANGUAGE sql IMMUTABLE AS $$ SELECT int4multirange(int4range(slot, slot + 1)) $$;
COMMENT ON FUNCTION one_slot IS 'Converts a slot to a multirange with one element.';

CREATE FUNCTION slot_network(network_range inet, slot integer) RETURNS inet
LANGUAGE sql IMMUTABLE AS $$ SELECT set_masklen(network(network_range)::inet + 32::bigint * slot, 27) $$;
COMMENT ON FUNCTION slot_network IS 'The k-th /27 of a node''s range.';
