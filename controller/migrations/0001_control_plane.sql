-- The control plane's first schema. Times are the database's clock. Enumerations are text with a CHECK, in the
-- spelling of the protos without their prefix. Secrets are sealed by the vault before they get here.

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
COMMENT ON COLUMN users.email IS 'Address, lower case.';
COMMENT ON COLUMN users.display_name IS 'Name to show.';
COMMENT ON COLUMN users.password_hash IS 'Argon2id, PHC string.';
COMMENT ON COLUMN users.operator IS 'Runs the platform.';
COMMENT ON COLUMN users.created_at IS 'When the account was made.';

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
COMMENT ON TABLE user_sessions IS 'Sign-ins. A refresh token works once; a second use of it ends the session.';
COMMENT ON COLUMN user_sessions.id IS 'UUIDv7; claim sid of access tokens.';
COMMENT ON COLUMN user_sessions.user_id IS 'Whose.';
COMMENT ON COLUMN user_sessions.refresh_hash IS 'SHA-256 of the refresh token that works.';
COMMENT ON COLUMN user_sessions.previous_hash IS 'SHA-256 of the one before it; its use means theft.';
COMMENT ON COLUMN user_sessions.in_cookie IS 'The refresh token is delivered as a cookie.';
COMMENT ON COLUMN user_sessions.created_at IS 'Sign-in.';
COMMENT ON COLUMN user_sessions.expires_at IS 'End of the refresh token.';
COMMENT ON COLUMN user_sessions.ended_at IS 'Sign-out or theft.';

CREATE TABLE platform_secrets (
    name       text PRIMARY KEY,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE platform_secrets IS 'The platform''s own secrets (CA key, token signing key), sealed under the master key, so that every replica can use them.';
COMMENT ON COLUMN platform_secrets.name IS 'Which secret.';
COMMENT ON COLUMN platform_secrets.sealed IS 'Sealed value; associated data: platform, name.';
COMMENT ON COLUMN platform_secrets.created_at IS 'When it was made.';

CREATE TABLE platform (
    singleton        boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    fleet_id         text NOT NULL,
    setup_token_hash bytea
);
COMMENT ON TABLE platform IS 'One row about the installation.';
COMMENT ON COLUMN platform.singleton IS 'Keeps it one row.';
COMMENT ON COLUMN platform.fleet_id IS 'Label value that marks this installation''s containers.';
COMMENT ON COLUMN platform.setup_token_hash IS 'SHA-256 of the one-time setup token; null once the first user exists.';

CREATE TABLE controllers (
    id         uuid PRIMARY KEY,
    address    text NOT NULL,
    version    text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE controllers IS 'Controller replicas.';
COMMENT ON COLUMN controllers.id IS 'New at each start.';
COMMENT ON COLUMN controllers.address IS 'Node port.';
COMMENT ON COLUMN controllers.version IS 'Build.';
COMMENT ON COLUMN controllers.started_at IS 'Start.';
COMMENT ON COLUMN controllers.seen_at IS 'Last heartbeat, every 5 s.';

CREATE TABLE leases (
    name       text PRIMARY KEY,
    holder     uuid NOT NULL,
    epoch      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE leases IS 'Work that one replica does at a time. Writes of that work are guarded by the epoch.';
COMMENT ON COLUMN leases.name IS 'Which work.';
COMMENT ON COLUMN leases.holder IS 'Controller.';
COMMENT ON COLUMN leases.epoch IS '+1 at each change of holder.';
COMMENT ON COLUMN leases.expires_at IS 'Until when, by the database''s clock.';

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
COMMENT ON COLUMN organizations.slug IS 'Id that people use.';
COMMENT ON COLUMN organizations.name IS 'Name to show.';
COMMENT ON COLUMN organizations.projects_used IS 'Projects not yet REMOVED.';
COMMENT ON COLUMN organizations.projects_limit IS 'Projects allowed.';
COMMENT ON COLUMN organizations.revision IS 'Etag.';
COMMENT ON COLUMN organizations.created_at IS 'When it was made.';

CREATE TABLE members (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    user_id         uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role            text NOT NULL CHECK (role IN ('OWNER', 'ADMINISTRATOR', 'DEVELOPER', 'READ_ONLY')),
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX members_user ON members (user_id);
COMMENT ON TABLE members IS 'Who may do what in an organization.';
COMMENT ON COLUMN members.organization_id IS 'Where.';
COMMENT ON COLUMN members.user_id IS 'Who.';
COMMENT ON COLUMN members.role IS 'What.';
COMMENT ON COLUMN members.created_at IS 'Since when.';

CREATE TABLE clusters (
    id                uuid PRIMARY KEY,
    name              text NOT NULL UNIQUE,
    kind              text NOT NULL CHECK (kind IN ('SHARED', 'PRIVATE')),
    cpu_overcommit    real NOT NULL DEFAULT 8 CHECK (cpu_overcommit >= 1),
    memory_overcommit real NOT NULL DEFAULT 1.5 CHECK (memory_overcommit >= 1),
    created_at        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE clusters IS 'Sets of nodes.';
COMMENT ON COLUMN clusters.id IS 'UUIDv7; clu_… on the wire.';
COMMENT ON COLUMN clusters.name IS 'Unique name.';
COMMENT ON COLUMN clusters.kind IS 'Shared by organizations, or private to one.';
COMMENT ON COLUMN clusters.cpu_overcommit IS 'Reserved cpu may exceed the hosts'' by this factor.';
COMMENT ON COLUMN clusters.memory_overcommit IS 'Reserved memory may exceed the hosts'' by this factor.';
COMMENT ON COLUMN clusters.created_at IS 'When it was made.';

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
COMMENT ON COLUMN join_tokens.cluster_id IS 'Which cluster.';
COMMENT ON COLUMN join_tokens.secret_hash IS 'SHA-256 of the secret.';
COMMENT ON COLUMN join_tokens.max_uses IS 'How many hosts may join.';
COMMENT ON COLUMN join_tokens.uses IS 'How many have.';
COMMENT ON COLUMN join_tokens.expires_at IS 'End.';
COMMENT ON COLUMN join_tokens.created_at IS 'When it was made.';

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
COMMENT ON TABLE nodes IS 'Docker hosts. The row guards what is reserved on the host. Locked after the organization, before the project.';
COMMENT ON COLUMN nodes.id IS 'UUIDv7; nod_… on the wire.';
COMMENT ON COLUMN nodes.cluster_id IS 'Its cluster.';
COMMENT ON COLUMN nodes.name IS 'Host name, unique in the cluster.';
COMMENT ON COLUMN nodes.key_sha256 IS 'SHA-256 of the enrolled public key (SPKI).';
COMMENT ON COLUMN nodes.schedulable IS 'New projects may come.';
COMMENT ON COLUMN nodes.session_epoch IS 'Number of the newest session, +1 at each connect.';
COMMENT ON COLUMN nodes.boot_id IS 'Boot of the host at the last Hello.';
COMMENT ON COLUMN nodes.agent_version IS 'From Hello.';
COMMENT ON COLUMN nodes.engine_version IS 'From Hello.';
COMMENT ON COLUMN nodes.advertise_address IS 'Where published ports are reached.';
COMMENT ON COLUMN nodes.port_base IS 'First port of slot 0.';
COMMENT ON COLUMN nodes.network_range IS 'Range the slots'' /27 networks are cut from.';
COMMENT ON COLUMN nodes.cpu_cap IS 'Millis that may be reserved, overcommit included.';
COMMENT ON COLUMN nodes.cpu_used IS 'Millis reserved.';
COMMENT ON COLUMN nodes.memory_cap IS 'MiB that may be reserved, overcommit included.';
COMMENT ON COLUMN nodes.memory_used IS 'MiB reserved.';
COMMENT ON COLUMN nodes.disk_cap IS 'MiB that may be reserved.';
COMMENT ON COLUMN nodes.disk_used IS 'MiB reserved.';
COMMENT ON COLUMN nodes.slots IS 'Number of slots.';
COMMENT ON COLUMN nodes.taken_slots IS 'Slots of placements.';
COMMENT ON COLUMN nodes.blocked_slots IS 'Slots whose ports or network others hold.';
COMMENT ON COLUMN nodes.blocked_reasons IS 'Who holds what.';
COMMENT ON COLUMN nodes.last_slot IS 'Slot taken by the newest placement; lets the placing UPDATE return it.';
COMMENT ON COLUMN nodes.start_failures IS 'Failed starts since the last success.';
COMMENT ON COLUMN nodes.last_failure_at IS 'Newest failed start.';
COMMENT ON COLUMN nodes.unexplained IS 'Refs of projects found on the host that no placement explains.';
COMMENT ON COLUMN nodes.seen_at IS 'Last sign of life, written every 5 s per replica.';
COMMENT ON COLUMN nodes.created_at IS 'When it joined.';

CREATE TABLE certificates (
    serial     text PRIMARY KEY,
    node_id    uuid NOT NULL REFERENCES nodes ON DELETE CASCADE,
    key_sha256 bytea NOT NULL,
    not_before timestamptz NOT NULL,
    not_after  timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX certificates_node ON certificates (node_id);
COMMENT ON TABLE certificates IS 'Node certificates that were issued.';
COMMENT ON COLUMN certificates.serial IS 'Serial number, hex.';
COMMENT ON COLUMN certificates.node_id IS 'Whose.';
COMMENT ON COLUMN certificates.key_sha256 IS 'SHA-256 of the public key (SPKI).';
COMMENT ON COLUMN certificates.not_before IS 'Start of life.';
COMMENT ON COLUMN certificates.not_after IS 'End of life.';
COMMENT ON COLUMN certificates.created_at IS 'When it was issued.';

CREATE TABLE node_sessions (
    node_id       uuid PRIMARY KEY REFERENCES nodes ON DELETE CASCADE,
    controller_id uuid NOT NULL,
    epoch         bigint NOT NULL,
    connected_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE node_sessions IS 'Which replica holds a node''s session; compare-and-swap on epoch.';
COMMENT ON COLUMN node_sessions.node_id IS 'Node.';
COMMENT ON COLUMN node_sessions.controller_id IS 'Replica.';
COMMENT ON COLUMN node_sessions.epoch IS 'Number of the session.';
COMMENT ON COLUMN node_sessions.connected_at IS 'Since when.';

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
COMMENT ON TABLE projects IS 'Tenants'' backends. Locked last.';
COMMENT ON COLUMN projects.ref IS '20 lower-case letters, unique for ever: rows of removed projects stay.';
COMMENT ON COLUMN projects.organization_id IS 'Owner.';
COMMENT ON COLUMN projects.cluster_id IS 'Where it may lie.';
COMMENT ON COLUMN projects.name IS 'Name to show, unique in the organization.';
COMMENT ON COLUMN projects.release IS 'Stack release.';
COMMENT ON COLUMN projects.state IS 'State as clients know it.';
COMMENT ON COLUMN projects.state_reason IS 'Why, for people.';
COMMENT ON COLUMN projects.desired IS 'What should be; written only by callers'' acts.';
COMMENT ON COLUMN projects.desired_before_delete IS 'What UndeleteProject goes back to.';
COMMENT ON COLUMN projects.generation IS 'Version of the desired state.';
COMMENT ON COLUMN projects.restart_token IS 'Changes when a restart is wanted.';
COMMENT ON COLUMN projects.event_seq IS 'Number of the newest event.';
COMMENT ON COLUMN projects.revision IS 'Etag.';
COMMENT ON COLUMN projects.cpu_millis IS 'What a placement reserves.';
COMMENT ON COLUMN projects.memory_mib IS 'What a placement reserves.';
COMMENT ON COLUMN projects.disk_mib IS 'What a placement reserves.';
COMMENT ON COLUMN projects.services IS 'Observed services of the current generation: [{name, state, message}].';
COMMENT ON COLUMN projects.created_at IS 'When it was made.';
COMMENT ON COLUMN projects.deleted_at IS 'DeleteProject.';
COMMENT ON COLUMN projects.purge_at IS 'When its data goes.';
COMMENT ON COLUMN projects.removed_at IS 'When nothing was left.';

CREATE TABLE project_secrets (
    project_ref text NOT NULL REFERENCES projects,
    name        text NOT NULL,
    version     integer NOT NULL,
    sealed      bytea NOT NULL,
    PRIMARY KEY (project_ref, name, version)
);
COMMENT ON TABLE project_secrets IS 'A project''s secrets, sealed; gone when the project is removed.';
COMMENT ON COLUMN project_secrets.project_ref IS 'Whose.';
COMMENT ON COLUMN project_secrets.name IS 'Which.';
COMMENT ON COLUMN project_secrets.version IS '+1 at each rotation.';
COMMENT ON COLUMN project_secrets.sealed IS 'Sealed value; associated data: project, ref, name, version.';

CREATE TABLE project_specs (
    project_ref text NOT NULL REFERENCES projects,
    generation  bigint NOT NULL,
    sealed      bytea NOT NULL,
    PRIMARY KEY (project_ref, generation)
);
COMMENT ON TABLE project_specs IS 'Rendered stack specs: rendered once, with the generation that first used them.';
COMMENT ON COLUMN project_specs.project_ref IS 'Whose.';
COMMENT ON COLUMN project_specs.generation IS 'First generation with this spec.';
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
COMMENT ON TABLE placements IS 'Which project lies on which node.';
COMMENT ON COLUMN placements.project_ref IS 'Project.';
COMMENT ON COLUMN placements.node_id IS 'Node.';
COMMENT ON COLUMN placements.role IS 'ACTIVE, or one end of a move.';
COMMENT ON COLUMN placements.slot IS 'The project''s number on the node: its ports and its network.';
COMMENT ON COLUMN placements.port_base IS 'First port of the slot''s block; fixed at placement.';
COMMENT ON COLUMN placements.subnet IS 'The slot''s /27; fixed at placement.';
COMMENT ON COLUMN placements.host IS 'Where published ports are reached; fixed at placement.';
COMMENT ON COLUMN placements.holds_compute IS 'Cpu and memory are reserved; false while stopped.';
COMMENT ON COLUMN placements.applied_generation IS 'Newest generation the agent has stored; 0 = unknown or none.';
COMMENT ON COLUMN placements.created_at IS 'When it was placed.';

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
COMMENT ON COLUMN project_endpoints.project_ref IS 'Whose.';
COMMENT ON COLUMN project_endpoints.service IS 'Service behind it.';
COMMENT ON COLUMN project_endpoints.scheme IS 'http, https or postgresql.';
COMMENT ON COLUMN project_endpoints.host IS 'Host.';
COMMENT ON COLUMN project_endpoints.port IS 'Port.';
COMMENT ON COLUMN project_endpoints.kind IS 'Port of the node, or a domain.';

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
COMMENT ON TABLE operations IS 'Work on projects; at most one open per project.';
COMMENT ON COLUMN operations.id IS 'UUIDv7; opr_… on the wire.';
COMMENT ON COLUMN operations.project_ref IS 'On what.';
COMMENT ON COLUMN operations.kind IS 'What.';
COMMENT ON COLUMN operations.state IS 'PENDING waits for room on a node and has no deadline.';
COMMENT ON COLUMN operations.generation IS 'Generation whose arrival ends it.';
COMMENT ON COLUMN operations.status_message IS 'What it is doing, for people.';
COMMENT ON COLUMN operations.error_reason IS 'Stable reason.';
COMMENT ON COLUMN operations.error_message IS 'For people.';
COMMENT ON COLUMN operations.error_service IS 'Which service.';
COMMENT ON COLUMN operations.error_log IS 'The container''s last lines.';
COMMENT ON COLUMN operations.created_by IS 'Who asked.';
COMMENT ON COLUMN operations.created_at IS 'When it was made.';
COMMENT ON COLUMN operations.deadline IS 'When it fails if still RUNNING.';
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
COMMENT ON TABLE project_events IS 'What happened to a project; numbered from the project''s row, without gaps.';
COMMENT ON COLUMN project_events.project_ref IS 'To which.';
COMMENT ON COLUMN project_events.seq IS 'From 1.';
COMMENT ON COLUMN project_events.at IS 'When.';
COMMENT ON COLUMN project_events.type IS 'Stable type.';
COMMENT ON COLUMN project_events.message IS 'For people.';
COMMENT ON COLUMN project_events.service IS 'Service it is about.';
COMMENT ON COLUMN project_events.percent IS 'Of a pull.';
COMMENT ON COLUMN project_events.state IS 'State after it.';
COMMENT ON COLUMN project_events.operation_id IS 'Operation it belongs to.';

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
COMMENT ON TABLE requests IS 'Answered calls that carried a request_id; kept 24 h.';
COMMENT ON COLUMN requests.user_id IS 'Caller.';
COMMENT ON COLUMN requests.method IS 'RPC.';
COMMENT ON COLUMN requests.request_id IS 'The caller''s key.';
COMMENT ON COLUMN requests.body_sha256 IS 'Of the request; a replay with another body is refused.';
COMMENT ON COLUMN requests.resource IS 'What it made: project ref or organization slug.';
COMMENT ON COLUMN requests.operation IS 'Operation it started.';
COMMENT ON COLUMN requests.created_at IS 'When.';

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
COMMENT ON TABLE audit_log IS 'Who did what; append-only, chained by one leased sealer a second later.';
COMMENT ON COLUMN audit_log.id IS 'UUIDv7.';
COMMENT ON COLUMN audit_log.at IS 'When.';
COMMENT ON COLUMN audit_log.actor IS 'usr_…, nod_…, or anonymous.';
COMMENT ON COLUMN audit_log.method IS 'RPC.';
COMMENT ON COLUMN audit_log.target IS 'On what.';
COMMENT ON COLUMN audit_log.outcome IS 'OK or the gRPC code of the refusal.';
COMMENT ON COLUMN audit_log.client IS 'Client address.';
COMMENT ON COLUMN audit_log.trace_id IS 'Trace of the call.';
COMMENT ON COLUMN audit_log.seq IS 'Place in the chain; null until sealed.';
COMMENT ON COLUMN audit_log.chain_hash IS 'SHA-256 over the row and the hash before it.';

CREATE FUNCTION placement_conflict(what text) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'SL001', MESSAGE = what;
END $$;
COMMENT ON FUNCTION placement_conflict IS 'Ends a placing statement that did not get all it needs, so that nothing of it stays.';

CREATE FUNCTION append_event(p_ref text, p_type text, p_message text, p_service text, p_percent integer, p_operation uuid)
RETURNS bigint LANGUAGE sql AS $$
    WITH numbered AS (
        UPDATE projects SET event_seq = event_seq + 1 WHERE ref = p_ref RETURNING event_seq, state
    )
    INSERT INTO project_events (project_ref, seq, type, message, service, percent, state, operation_id)
    SELECT p_ref, event_seq, p_type, p_message, p_service, p_percent, state, p_operation FROM numbered
    RETURNING seq
$$;
COMMENT ON FUNCTION append_event IS 'Adds an event with the next number of its project.';

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.seq IS NULL AND NEW.seq IS NOT NULL
       AND (NEW.id, NEW.at, NEW.actor, NEW.method, NEW.target, NEW.outcome, NEW.client, NEW.trace_id)
         = (OLD.id, OLD.at, OLD.actor, OLD.method, OLD.target, OLD.outcome, OLD.client, OLD.trace_id) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only';
END $$;
COMMENT ON FUNCTION audit_is_append_only IS 'Refuses every change but the sealing of a row.';
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();

CREATE FUNCTION range_agg_or_empty(ranges int4range[]) RETURNS int4multirange LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(range_agg(r), '{}') FROM unnest(ranges) AS r
$$;
COMMENT ON FUNCTION range_agg_or_empty IS 'Ranges as one multirange.';

CREATE FUNCTION first_free_slot(slots integer, taken int4multirange, blocked int4multirange) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$ SELECT lower(int4multirange(int4range(0, slots)) - taken - blocked) $$;
COMMENT ON FUNCTION first_free_slot IS 'Lowest slot of a node that is neither taken nor blocked; null if there is none.';

CREATE FUNCTION one_slot(slot integer) RETURNS int4multirange
LANGUAGE sql IMMUTABLE AS $$ SELECT int4multirange(int4range(slot, slot + 1)) $$;
COMMENT ON FUNCTION one_slot IS 'A slot as a set of one.';

CREATE FUNCTION slot_network(network_range inet, slot integer) RETURNS inet
LANGUAGE sql IMMUTABLE AS $$ SELECT set_masklen(network(network_range)::inet + 32::bigint * slot, 27) $$;
COMMENT ON FUNCTION slot_network IS 'The k-th /27 of a node''s range.';
