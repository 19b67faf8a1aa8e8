-- The outbox of mails.
CREATE TABLE mails (
    id              uuid PRIMARY KEY,
    recipient       text NOT NULL,
    kind            text NOT NULL,
    sealed          bytea,
    state           text NOT NULL DEFAULT 'WAITING' CHECK (state IN ('WAITING', 'SENT', 'REFUSED', 'EXPIRED')),
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error      text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    CHECK ((state = 'WAITING') = (sealed IS NOT NULL)),
    CHECK ((state = 'WAITING') = (ended_at IS NULL))
);
CREATE INDEX mails_due ON mails (next_attempt_at) WHERE state = 'WAITING';
CREATE INDEX mails_expiry ON mails (expires_at) WHERE state = 'WAITING';
CREATE INDEX mails_end ON mails (ended_at) WHERE state <> 'WAITING';
COMMENT ON TABLE mails IS 'Outbox: a mail is written in the transaction of the act that causes it, and sent after it.';
COMMENT ON COLUMN mails.id IS 'UUIDv7; mal_… in logs, and the first part of the Message-ID of each attempt.';
COMMENT ON COLUMN mails.recipient IS 'Address of the recipient.';
COMMENT ON COLUMN mails.kind IS 'Kind of mail, e.g. invitation.';
COMMENT ON COLUMN mails.sealed IS 'Subject, text and link, sealed: the link may hold a token. Null once the mail was sent or given up.';
COMMENT ON COLUMN mails.state IS 'WAITING, SENT (the mail server took it), REFUSED (the mail server refused it for good), EXPIRED.';
COMMENT ON COLUMN mails.attempts IS 'How often a replica has claimed it to send it; the fence of what that replica notes afterwards.';
COMMENT ON COLUMN mails.next_attempt_at IS 'When it is due. While a replica sends it: when the claim of that replica ends.';
COMMENT ON COLUMN mails.last_error IS 'Why the last attempt failed, without secrets; empty if none failed.';
COMMENT ON COLUMN mails.created_at IS 'When the act that causes it was written.';
COMMENT ON COLUMN mails.expires_at IS 'After this time it is dropped instead of sent.';
COMMENT ON COLUMN mails.ended_at IS 'When it was sent, refused or dropped.';
