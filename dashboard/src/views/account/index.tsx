"use client";

import { useMe } from "@/api/queries/organizations";
import { useQueryParam } from "@/lib/query-param";
import { Loaded, Page, Sections, Skeleton } from "@/ui";
import { Appearance } from "./appearance";
import { messages as say } from "./messages";
import { Password } from "./password";
import { Profile } from "./profile";
import { SessionList } from "./session-list";
import { TokenList } from "./token-list";

const SECTIONS = [
  { value: "profile", label: say.profile },
  { value: "security", label: say.security },
  { value: "sessions", label: say.sessions },
  { value: "tokens", label: say.tokens },
  { value: "appearance", label: say.appearance },
];

export function AccountPage() {
  const me = useMe();
  const [section, setSection] = useQueryParam("s", "profile");
  return (
    <Page title={say.title} description={me.data?.email ?? <Skeleton className="h-5 w-48" />} narrow>
      <Sections label={say.sections} items={SECTIONS} value={section} onChange={setSection}>
        <Loaded query={me} failed="Your account could not be loaded" skeleton={<Skeleton className="h-40 w-full" />}>
          {(user) => (
            <>
              {section === "profile" && <Profile user={user} />}
              {section === "security" && <Password email={user.email} />}
              {section === "sessions" && <SessionList />}
              {section === "tokens" && <TokenList operator={user.operator} />}
              {section === "appearance" && <Appearance />}
            </>
          )}
        </Loaded>
      </Sections>
    </Page>
  );
}
