"use client";

import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { projects } from "@/api/clients";
import { explain, told } from "@/api/errors";
import { keys } from "@/api/keys";
import { uuid } from "@/api/uuid";
import type { Project } from "@/gen/supalove/v1/project_pb";
import { Button, Card, Confirm, ConfirmByName, FormError, FormSection, toast } from "@/ui";
import { messages as say } from "./messages";

export function KeysSection({ project }: { project: Project }) {
  return (
    <>
      <FormSection title={say.dbPassword} description={say.dbPasswordWhat}>
        <Password project={project} />
      </FormSection>
      <FormSection title={say.jwt} description={say.jwtWhat}>
        <Jwt project={project} />
      </FormSection>
    </>
  );
}

/** Runs a call and shows what it fails with. */
function useCall(projectRef: string) {
  const cache = useQueryClient();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const run = async (call: () => Promise<unknown>) => {
    setBusy(true);
    setProblem("");
    await call().catch((error) => setProblem(told(explain(error))));
    setBusy(false);
    void cache.invalidateQueries({ queryKey: keys.project(projectRef) });
    void cache.invalidateQueries({ queryKey: keys.operations(projectRef) });
  };
  return { busy, problem, run };
}

function Password({ project }: { project: Project }) {
  const [asks, setAsks] = useState(false);
  const { busy, problem, run } = useCall(project.ref);
  const reset = () =>
    run(async () => {
      await projects.resetDatabasePassword({ projectRef: project.ref, requestId: uuid() });
      toast(say.resetDone);
    }).then(() => setAsks(false));
  return (
    <Card className="flex flex-col items-start gap-3 p-4 md:p-5">
      <FormError>{problem}</FormError>
      <Button onClick={() => setAsks(true)}>{say.reset}</Button>
      <Confirm
        open={asks}
        onClose={() => setAsks(false)}
        title={say.resetTitle(project.name)}
        description={say.resetWhat}
        action={say.reset}
        danger
        busy={busy}
        onConfirm={() => void reset()}
      />
    </Card>
  );
}

function Jwt({ project }: { project: Project }) {
  const [stops, setStops] = useState<string[]>();
  const { busy, problem, run } = useCall(project.ref);
  const projectRef = project.ref;
  // Without a confirmation the server changes nothing, and says what would stop working.
  const ask = () => run(async () => setStops((await projects.rotateJwtSecret({ projectRef })).stopsWorking));
  const rotate = () =>
    run(async () => {
      await projects.rotateJwtSecret({ projectRef, confirm: projectRef, requestId: uuid() });
      toast(say.rotateDone);
    }).then(() => setStops(undefined));
  return (
    <Card className="flex flex-col items-start gap-3 p-4 md:p-5">
      <FormError>{problem}</FormError>
      <Button busy={busy && stops === undefined} onClick={() => void ask()}>
        {say.rotate}
      </Button>
      <ConfirmByName
        open={stops !== undefined}
        onClose={() => setStops(undefined)}
        name={project.name}
        what="project"
        title={say.rotateTitle(project.name)}
        description={say.rotateWhat}
        action={say.rotate}
        busy={busy}
        onConfirm={() => void rotate()}
      >
        <ul className="list-disc pl-5 text-13 text-ink-2">
          {stops?.map((sentence) => (
            <li key={sentence}>{sentence}</li>
          ))}
        </ul>
      </ConfirmByName>
    </Card>
  );
}
