"use client";

import { useQueryClient } from "@tanstack/react-query";
import { projects } from "@/api/clients";
import { keys } from "@/api/keys";
import { uuid } from "@/api/uuid";
import type { ProjectSettings } from "@/gen/supalove/v1/project_pb";
import { list } from "@/lib/words";
import { toast } from "@/ui";
import { messages as say } from "./messages";
import { maskOf } from "./values";

/** Saves some of the settings, if they are still those that were read. Fails as the call does. */
export function useSave(ref: string, etag: string) {
  const cache = useQueryClient();
  return async (changes: Partial<Omit<ProjectSettings, "$typeName" | "$unknown">>) => {
    const answer = await projects.updateProjectSettings({
      projectRef: ref,
      settings: changes,
      updateMask: { paths: Object.keys(changes).map(maskOf) },
      etag,
      requestId: uuid(),
    });
    cache.setQueryData(keys.projectSettings(ref), answer.settings);
    void cache.invalidateQueries({ queryKey: keys.operations(ref) });
    toast(answer.restartedServices.length > 0 ? say.savedRestarts(list(answer.restartedServices)) : say.saved);
  };
}
