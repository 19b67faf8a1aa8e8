"use client";

import { Download } from "lucide-react";
import type { ReactNode } from "react";
import { revealSecrets } from "@/api/mutations/project";
import type { ProjectConnection } from "@/api/queries/project";
import { saveFile } from "@/lib/save-file";
import { Button, CopyButton, Secret } from "@/ui";
import { messages as say } from "./messages";

/** Where programs reach the project, and with which keys. */
export function Addresses({
  projectRef,
  connection,
  secrets,
}: {
  projectRef: string;
  connection: ProjectConnection;
  /** Whether one may see the secret ones. */
  secrets: boolean;
}) {
  const { apiUrl, dbUrl, anonKey, dbCaCertificate, node } = connection;
  return (
    <div className="min-w-0 p-4 md:p-5">
      <h2 className="mb-2 flex min-h-8 items-center text-14 font-semibold tracking-name">{say.up}</h2>
      <dl className="grid items-center text-13 md:grid-cols-[6.5rem_minmax(0,1fr)]">
        <Address label={say.api} value={apiUrl} />
        <Address label={say.database} value={dbUrl} />
        <Address label={say.publicKey} value={anonKey} />
        {secrets && (
          <>
            <Row label={say.serviceKey}>
              <Secret what="service key" reveal={async () => (await revealSecrets(projectRef)).serviceRoleKey} />
            </Row>
            <Row label={say.dbPassword}>
              <Secret what="database password" reveal={async () => (await revealSecrets(projectRef)).dbPassword} />
            </Row>
          </>
        )}
        {dbCaCertificate && (
          <Row label={say.certificate}>
            <Button size="small" icon={Download} onClick={() => saveFile(certificateName(projectRef), dbCaCertificate)}>
              {certificateName(projectRef)}
            </Button>
          </Row>
        )}
      </dl>
      <p className="mt-3 text-12 text-ink-3">
        {(connection.apiHostOnly || connection.dbHostOnly) && `${say.hostOnly(node)} `}
        {secrets ? say.audited : say.secretsRefused}
      </p>
    </div>
  );
}

export const certificateName = (projectRef: string): string => `${projectRef}-ca.crt`;

function Address({ label, value }: { label: string; value: string }) {
  return (
    <Row label={label}>
      {value ? (
        <div className="flex min-w-0 items-center gap-1">
          <code className="code min-w-0 flex-1 truncate">{value}</code>
          <CopyButton value={value} what={label} />
        </div>
      ) : (
        <span className="text-ink-3">{say.notPublished}</span>
      )}
    </Row>
  );
}

function Row({ label, children }: { label: string; children: ReactNode }) {
  return (
    <>
      <dt className="text-ink-3 max-md:pt-2 max-md:text-12">{label}</dt>
      <dd className="flex min-h-9 min-w-0 items-center [&>*]:min-w-0 [&>div]:flex-1">{children}</dd>
    </>
  );
}
