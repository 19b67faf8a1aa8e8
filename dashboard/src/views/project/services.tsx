"use client";

import { type Project, ServiceState } from "@/gen/supalove/v1/project_pb";
import { inOrder, serviceIcon, serviceWhat } from "@/lib/services";
import { serviceShown } from "@/lib/states";
import { Button, Card, CardHead, Icon, State } from "@/ui";
import { messages as say } from "./messages";

/** The services of a project that is not being set up, each with its state and what is wrong. */
export function Services({ project, onRestart }: { project: Project; onRestart: (() => void) | undefined }) {
  const healthy = project.services.filter(({ state }) => state === ServiceState.HEALTHY).length;
  return (
    <Card className="min-w-0">
      <CardHead title={say.services} aside={project.services.length > 0 && say.healthyOf(healthy, project.services.length)}>
        {onRestart && (
          <Button look="ghost" size="small" onClick={onRestart}>
            {say.restartAll}
          </Button>
        )}
      </CardHead>
      <ul aria-label={say.services}>
        {inOrder(project.services).map(({ name, state, message }) => (
          <li key={name} className="flex min-h-11 items-center gap-3 border-b border-line px-4 py-2 text-13 last:border-b-0">
            <Icon of={serviceIcon(name)} className="text-ink-3" />
            <div className="min-w-0 flex-1">
              <span className="font-medium">{name}</span>
              <span className="text-ink-3 max-md:hidden"> {serviceWhat(name)}</span>
              {message && <p className="text-12 text-ink-2 wrap-anywhere">{message}</p>}
            </div>
            <State of={serviceShown(state)} />
          </li>
        ))}
      </ul>
    </Card>
  );
}
