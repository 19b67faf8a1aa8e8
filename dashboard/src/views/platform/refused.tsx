import { paths } from "@/lib/routes";
import { LinkButton, Page, Refused } from "@/ui";
import { messages as say } from "./messages";

/** For who is not an operator and follows a link to the platform's pages. */
export function NotOperator({ title }: { title: string }) {
  return (
    <Page title={title}>
      <Refused title={say.refused} action={<LinkButton href={paths.home}>{say.toYours}</LinkButton>}>
        {say.refusedWhat}
      </Refused>
    </Page>
  );
}
