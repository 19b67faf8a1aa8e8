-- Images that the controller keeps for hosts that reach no registry. The bytes are in the image store; these rows say what is
-- there, so that all replicas agree on it.
CREATE TABLE image_contents (
    digest     text PRIMARY KEY CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    parts      text[] NOT NULL,
    damaged    boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    needed_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX image_contents_needed ON image_contents (needed_at);
COMMENT ON TABLE image_contents IS 'Content of images that is complete in the image store: configurations and layers.';
COMMENT ON COLUMN image_contents.digest IS 'sha256 of it, checked when it was written.';
COMMENT ON COLUMN image_contents.size_bytes IS 'Its bytes.';
COMMENT ON COLUMN image_contents.parts IS 'Objects of the image store that hold it, in order. Each upload makes new ones, so that a removal never meets those of a later upload.';
COMMENT ON COLUMN image_contents.damaged IS 'What was read was not what had been written: the next push replaces it.';
COMMENT ON COLUMN image_contents.created_at IS 'When its upload was complete.';
COMMENT ON COLUMN image_contents.needed_at IS 'When somebody last pushed or fetched it: content without an image stays for an hour.';

CREATE TABLE image_uploads (
    digest         text PRIMARY KEY CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    size_bytes     bigint NOT NULL CHECK (size_bytes >= 0),
    received_bytes bigint NOT NULL DEFAULT 0 CHECK (received_bytes BETWEEN 0 AND size_bytes),
    parts          text[] NOT NULL DEFAULT '{}',
    updated_at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE image_uploads IS 'Content of images that has arrived in part.';
COMMENT ON COLUMN image_uploads.digest IS 'What it is to be.';
COMMENT ON COLUMN image_uploads.size_bytes IS 'Bytes of all of it.';
COMMENT ON COLUMN image_uploads.received_bytes IS 'Bytes that have arrived. Of two callers that upload the same content, the one that raises it first goes on.';
COMMENT ON COLUMN image_uploads.parts IS 'Objects of the image store that hold them, in order.';
COMMENT ON COLUMN image_uploads.updated_at IS 'When bytes last arrived; after a day without any it is given up.';

CREATE TABLE images (
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 512),
    os              text NOT NULL,
    architecture    text NOT NULL,
    manifest_digest text NOT NULL,
    manifest        text NOT NULL,
    config_digest   text NOT NULL,
    size_bytes      bigint NOT NULL,
    pushed_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, os, architecture)
);
COMMENT ON TABLE images IS 'Images that the controller keeps.';
COMMENT ON COLUMN images.name IS 'Name and tag, as stack releases name it.';
COMMENT ON COLUMN images.os IS 'Operating system that it runs on, from its configuration.';
COMMENT ON COLUMN images.architecture IS 'Architecture that it runs on, from its configuration.';
COMMENT ON COLUMN images.manifest_digest IS 'sha256 of the manifest.';
COMMENT ON COLUMN images.manifest IS 'The manifest, byte for byte: JSON in the format of OCI images.';
COMMENT ON COLUMN images.config_digest IS 'Digest of the configuration: the id that Docker Engines show.';
COMMENT ON COLUMN images.size_bytes IS 'Bytes of its configuration and layers.';
COMMENT ON COLUMN images.pushed_at IS 'When it got this name.';

CREATE TABLE image_needs (
    name         text NOT NULL,
    os           text NOT NULL,
    architecture text NOT NULL,
    digest       text NOT NULL REFERENCES image_contents,
    PRIMARY KEY (name, os, architecture, digest),
    FOREIGN KEY (name, os, architecture) REFERENCES images ON DELETE CASCADE
);
CREATE INDEX image_needs_digest ON image_needs (digest);
COMMENT ON TABLE image_needs IS 'Which content which image needs. The reference keeps content from being removed while an image is pushed.';
COMMENT ON COLUMN image_needs.name IS 'The image.';
COMMENT ON COLUMN image_needs.os IS 'The image''s.';
COMMENT ON COLUMN image_needs.architecture IS 'The image''s.';
COMMENT ON COLUMN image_needs.digest IS 'The content.';
