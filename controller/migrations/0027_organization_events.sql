-- Events of organizations: who is a member, and what state projects and their operations are in. Rows are appended without a
-- lock that organizations share with anything; they get their numbers afterwards, when somebody reads them or within a minute.
CREATE TABLE organization_events (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id uuid NOT NULL,
    seq             bigint CHECK (seq > 0),
    at              timestamptz NOT NULL DEFAULT now(),
    type            text NOT NULL CHECK (type IN ('organization.renamed', 'member.joined', 'member.role_changed', 'member.removed',
                        'member.left', 'invitation.created', 'invitation.accepted', 'invitation.revoked', 'project.created',
                        'project.state_changed', 'project.renamed', 'project.removed', 'project.joined', 'project.left',
                        'operation.started', 'operation.succeeded', 'operation.failed', 'operation.cancelled')),
    name            text,
    user_id         uuid,
    role            text CHECK (role IN ('OWNER', 'ADMINISTRATOR', 'DEVELOPER', 'READ_ONLY')),
    invitation_id   uuid,
    project_ref     text,
    state           text,
    operation_id    uuid,
    operation_kind  text
);
CREATE UNIQUE INDEX organization_events_seq ON organization_events (organization_id, seq) WHERE seq IS NOT NULL;
CREATE INDEX organization_events_new ON organization_events (organization_id, id) WHERE seq IS NULL;
COMMENT ON TABLE organization_events IS 'Newest events of organizations: at most 5,100 with a number for each organization, for 90 days.';
COMMENT ON COLUMN organization_events.id IS 'Order in which events were appended; those about one object were appended in the order in which they happened.';
COMMENT ON COLUMN organization_events.organization_id IS 'Organization. No foreign key: an append must not touch its row.';
COMMENT ON COLUMN organization_events.seq IS 'Number in the organization, from 1, without gaps; null until it is numbered.';
COMMENT ON COLUMN organization_events.at IS 'When it happened.';
COMMENT ON COLUMN organization_events.type IS 'What happened.';
COMMENT ON COLUMN organization_events.name IS 'Name of the organization or project after the event, for events about either.';
COMMENT ON COLUMN organization_events.user_id IS 'Member that it is about; the address is that of the user''s row.';
COMMENT ON COLUMN organization_events.role IS 'Role after the event, of the member or the invitation.';
COMMENT ON COLUMN organization_events.invitation_id IS 'Invitation that it is about; the address is that of the invitation''s row.';
COMMENT ON COLUMN organization_events.project_ref IS 'Project that it is about.';
COMMENT ON COLUMN organization_events.state IS 'State of the project after the event, for events about a project.';
COMMENT ON COLUMN organization_events.operation_id IS 'Operation that it is about, or that it began with.';
COMMENT ON COLUMN organization_events.operation_kind IS 'Kind of the operation.';

CREATE TABLE organization_streams (
    organization_id uuid PRIMARY KEY REFERENCES organizations ON DELETE CASCADE,
    event_seq       bigint NOT NULL DEFAULT 0 CHECK (event_seq >= 0)
);
COMMENT ON TABLE organization_streams IS 'Counters of the events of organizations. Locked only while events are numbered, and by nobody who appends one.';
COMMENT ON COLUMN organization_streams.organization_id IS 'Organization.';
COMMENT ON COLUMN organization_streams.event_seq IS 'Number of its newest event.';

CREATE FUNCTION organization_number_events(p_organization uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_seq bigint;
    v_new bigint;
BEGIN
    INSERT INTO organization_streams (organization_id) VALUES (p_organization) ON CONFLICT DO NOTHING;
    SELECT event_seq INTO v_seq FROM organization_streams WHERE organization_id = p_organization FOR UPDATE;
    -- Another statement, so that it sees what was committed while the one before waited.
    UPDATE organization_events e SET seq = n.seq
    FROM (SELECT w.id, v_seq + row_number() OVER (ORDER BY w.id) AS seq
          FROM (SELECT id FROM organization_events WHERE organization_id = p_organization AND seq IS NULL ORDER BY id LIMIT 1000) AS w) AS n
    WHERE e.id = n.id;
    GET DIAGNOSTICS v_new = ROW_COUNT;
    IF v_new > 0 THEN
        UPDATE organization_streams SET event_seq = v_seq + v_new WHERE organization_id = p_organization;
        IF (v_seq + v_new) / 100 > v_seq / 100 THEN
            DELETE FROM organization_events WHERE organization_id = p_organization AND seq <= v_seq + v_new - 5000;
        END IF;
    END IF;
    RETURN v_seq + v_new;
END
$$;
COMMENT ON FUNCTION organization_number_events IS 'Numbers up to 1,000 committed events of an organization, and deletes those behind the newest 5,000. Returns the newest number.';

CREATE FUNCTION organization_tell_project() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO organization_events (organization_id, type, name, project_ref, state, operation_id, operation_kind)
        SELECT NEW.organization_id, 'project.created', NEW.name, NEW.ref, NEW.state, o.id, o.kind
        FROM (SELECT) AS one LEFT JOIN operations o ON o.project_ref = NEW.ref;
        RETURN NULL;
    END IF;
    IF NEW.organization_id <> OLD.organization_id THEN
        INSERT INTO organization_events (organization_id, type, name, project_ref, state)
        VALUES (OLD.organization_id, 'project.left', NEW.name, NEW.ref, NEW.state),
            (NEW.organization_id, 'project.joined', NEW.name, NEW.ref, NEW.state);
    END IF;
    IF NEW.name <> OLD.name THEN
        INSERT INTO organization_events (organization_id, type, name, project_ref, state)
        VALUES (NEW.organization_id, 'project.renamed', NEW.name, NEW.ref, NEW.state);
    END IF;
    IF NEW.state <> OLD.state THEN
        INSERT INTO organization_events (organization_id, type, name, project_ref, state)
        VALUES (NEW.organization_id, CASE NEW.state WHEN 'REMOVED' THEN 'project.removed' ELSE 'project.state_changed' END,
            NEW.name, NEW.ref, NEW.state);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION organization_tell_project IS 'Appends events about a project to the stream of its organization; a project that moves, to the streams of both.';
CREATE TRIGGER organization_tell_new_project AFTER INSERT ON projects FOR EACH ROW EXECUTE FUNCTION organization_tell_project();
CREATE TRIGGER organization_tell_project AFTER UPDATE OF state, name, organization_id ON projects FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.name <> NEW.name OR OLD.organization_id <> NEW.organization_id)
    EXECUTE FUNCTION organization_tell_project();

CREATE FUNCTION organization_tell_operation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO organization_events (organization_id, type, name, project_ref, state, operation_id, operation_kind)
    SELECT p.organization_id, CASE WHEN NEW.ended_at IS NULL THEN 'operation.started' ELSE 'operation.' || lower(NEW.state) END,
        p.name, p.ref, p.state, NEW.id, NEW.kind
    FROM projects p WHERE p.ref = NEW.project_ref;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION organization_tell_operation IS 'Appends the start or the end of an operation to the stream of its organization.';
-- The creation of a project is told with its operation.
CREATE TRIGGER organization_tell_new_operation AFTER INSERT ON operations FOR EACH ROW WHEN (NEW.kind <> 'CREATE_PROJECT')
    EXECUTE FUNCTION organization_tell_operation();
CREATE TRIGGER organization_tell_ended_operation AFTER UPDATE OF state ON operations FOR EACH ROW
    WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL) EXECUTE FUNCTION organization_tell_operation();
