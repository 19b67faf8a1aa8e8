"use client";

import { useRouter } from "next/navigation";
import { useEffect } from "react";
import { useOrganizations } from "@/api/queries/organizations";
import { paths } from "@/lib/routes";
import { stored } from "@/lib/stored";
import { NameField, useNewOrganization } from "@/shell/new-organization";
import { Button, ErrorState, Heart, Page } from "@/ui";
import { messages as say } from "./messages";

/** Goes on to the last organization; who has none makes one here. */
export function HomePage() {
  const router = useRouter();
  const { data, error, refetch } = useOrganizations();
  const last = data?.find(({ slug }) => slug === stored("last-organization")) ?? data?.[0];
  useEffect(() => {
    if (last) router.replace(paths.projects(last.slug));
  }, [last, router]);
  if (error && !data) {
    return (
      <Page title={say.failedTitle}>
        <ErrorState title={say.failed} error={error} onRetry={() => void refetch()} />
      </Page>
    );
  }
  return data && !last ? <FirstOrganization /> : null;
}

function FirstOrganization() {
  const form = useNewOrganization(() => {});
  return (
    <Page title={say.title} description={say.description} sign={<Heart bars={[]} className="w-10" />} narrow>
      <form onSubmit={form.submit} noValidate className="grid max-w-100 gap-5">
        <NameField {...form} />
        <div>
          <Button type="submit" look="primary" busy={form.busy}>
            {say.submit}
          </Button>
        </div>
      </form>
    </Page>
  );
}
