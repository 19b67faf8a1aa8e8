-- Certificates of the projects' databases. The certificates, their keys and the CA of each project are sealed in
-- project_secrets; this is what the renewal looks for.
CREATE TABLE project_certificates (
    project_ref text PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
    serial      text NOT NULL,
    names       text[] NOT NULL,
    issued_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL CHECK (ends_at > issued_at),
    renew_at    timestamptz NOT NULL
);
CREATE INDEX project_certificates_renewal ON project_certificates (renew_at);
COMMENT ON TABLE project_certificates IS 'Newest certificate of the database of each project whose release has TLS.';
COMMENT ON COLUMN project_certificates.project_ref IS 'Project whose database presents it.';
COMMENT ON COLUMN project_certificates.serial IS 'Serial number, hexadecimal.';
COMMENT ON COLUMN project_certificates.names IS 'Host names and addresses in it. A database that is reached under another one gets a new certificate.';
COMMENT ON COLUMN project_certificates.issued_at IS 'When the controller issued it.';
COMMENT ON COLUMN project_certificates.ends_at IS 'When it expires.';
COMMENT ON COLUMN project_certificates.renew_at IS 'When the controller issues the next one: after half of its life.';
