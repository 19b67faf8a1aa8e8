"use client";

import { Plus } from "lucide-react";
import { useRouter } from "next/navigation";
import { useState } from "react";
import { explain, told } from "@/api/errors";
import { useWatch } from "@/api/live/use-watch";
import {
  useLeaveOrganization,
  useRemoveMember,
  useResendInvitation,
  useRevokeInvitation,
  useUpdateMember,
} from "@/api/mutations/members";
import { useEntitlements } from "@/api/queries/entitlements";
import { useInvitations, useMembers } from "@/api/queries/members";
import { useMe, useOrganization } from "@/api/queries/organizations";
import type { Invitation } from "@/gen/supalove/v1/invitation_pb";
import type { Member, Role } from "@/gen/supalove/v1/organization_pb";
import { Entitlement } from "@/gen/supalove/v1/plan_pb";
import { mayAdminister, roleName } from "@/lib/roles";
import { paths, useSlug } from "@/lib/routes";
import { Button, Confirm, Dialog, ErrorState, Notice, Page, Section, Skeleton, toast } from "@/ui";
import { InvitationList } from "./invitation-list";
import { InviteDialog } from "./invite-dialog";
import { type Link, LinksDialog } from "./links-dialog";
import { MemberList, nameOf } from "./member-list";
import { inviteMessages, messages as say } from "./messages";
import { isLastOwner } from "./roles";

/** What is asked before it is done. */
type Asked =
  | { what: "remove"; member: Member }
  | { what: "leave" }
  | { what: "own-role"; member: Member; role: Role }
  | { what: "last-owner" }
  | { what: "revoke"; invitation: Invitation };

export function MembersPage() {
  const slug = useSlug();
  const me = useMe().data;
  const organization = useOrganization(slug).data;
  const may = mayAdminister(organization?.role);
  const members = useMembers(slug);
  const invitations = useInvitations(slug, may);
  const entitlements = useEntitlements(slug).data;
  const [inviting, setInviting] = useState(false);
  const [links, setLinks] = useState<Link[]>([]);
  const resend = useResendInvitation(slug);
  const { ask, change, dialogs, problem, setProblem } = useActs(slug, members.data ?? [], me?.id);
  useWatch({ case: "organization", value: slug });

  const name = organization?.name ?? slug;
  const seats = entitlements?.entitlements.find(({ entitlement }) => entitlement === Entitlement.MEMBERS);
  const limit = seats?.limit?.kind.case === "number" ? Number(seats.limit.kind.value) : undefined;
  const used = members.data?.length;
  const open = invitations.data?.length ?? 0;
  const plan = entitlements?.plan?.displayName ?? "";
  const sendAgain = (invitation: Invitation) =>
    resend.mutate(invitation.id, {
      onSuccess: ({ token }) => {
        if (token) setLinks([{ email: invitation.email, token }]);
        else toast(say.resent(invitation.email));
      },
      onError: (error) => setProblem(told(explain(error))),
    });
  return (
    <Page
      title={say.title}
      tab={`${say.title} · ${name}`}
      description={
        used === undefined || limit === undefined ? (
          <Skeleton className="h-5 w-56" />
        ) : (
          say.seats(used, limit, plan) + (open > 0 ? say.pending(open) : "")
        )
      }
      actions={
        may && (
          <Button look="primary" icon={Plus} onClick={() => setInviting(true)}>
            {say.invite}
          </Button>
        )
      }
    >
      {problem && (
        <div role="alert" className="mb-4">
          <Notice kind="bad">{problem}</Notice>
        </div>
      )}
      {members.error && !members.data ? (
        <ErrorState title={say.failed} error={members.error} onRetry={() => void members.refetch()} />
      ) : (
        <MemberList
          organization={name}
          members={members.data}
          me={me?.id}
          role={organization?.role}
          acts={{
            change,
            remove: (member) => ask({ what: "remove", member }),
            leave: () => ask({ what: "leave" }),
          }}
        />
      )}
      {invitations.error && !invitations.data && (
        <Section title={say.invitations}>
          <ErrorState title={say.invitationsFailed} error={invitations.error} onRetry={() => void invitations.refetch()} />
        </Section>
      )}
      {invitations.data && open > 0 && (
        <Section title={say.invitations}>
          <InvitationList
            invitations={invitations.data}
            resending={resend.isPending ? resend.variables : undefined}
            onResend={sendAgain}
            onRevoke={(invitation) => ask({ what: "revoke", invitation })}
          />
        </Section>
      )}
      {inviting && (
        <InviteDialog
          slug={slug}
          organization={name}
          role={organization?.role}
          free={limit === undefined || used === undefined ? undefined : Math.max(0, limit - used - open)}
          plan={plan}
          onClose={() => setInviting(false)}
          onInvited={(invited) => {
            const tokens = invited.filter(({ token }) => token);
            if (tokens.length > 0) setLinks(tokens);
            else toast(inviteMessages.sent(invited.length));
          }}
        />
      )}
      {links.length > 0 && <LinksDialog links={links} onClose={() => setLinks([])} />}
      {dialogs(name)}
    </Page>
  );
}

/** Acts on members and invitations, with the dialogs that ask before them. */
function useActs(slug: string, members: Member[], me: string | undefined) {
  const router = useRouter();
  const update = useUpdateMember(slug);
  const remove = useRemoveMember(slug);
  const leave = useLeaveOrganization(slug);
  const revoke = useRevokeInvitation(slug);
  const [asked, setAsked] = useState<Asked>();
  const [problem, setProblem] = useState("");
  const close = () => setAsked(undefined);
  const done = (text: string, undo?: () => void) => {
    close();
    toast(text, { undo });
  };
  const refused = (error: unknown) => {
    close();
    const found = explain(error);
    if (found.reason === "LAST_OWNER") setAsked({ what: "last-owner" });
    else setProblem(told(found));
  };
  const ask = (next: Asked) => {
    setProblem("");
    setAsked(next.what === "leave" && me && isLastOwner(members, me) ? { what: "last-owner" } : next);
  };
  const put = (member: Member, role: Role) =>
    update.mutate(
      { member, role },
      {
        onSuccess: () =>
          done(
            say.roleChanged(nameOf(member), roleName(role)),
            // Who gave up the own role may not take it back.
            member.userId === me ? undefined : () => put({ ...member, role }, member.role),
          ),
        onError: refused,
      },
    );
  const change = (member: Member, role: Role) => {
    setProblem("");
    if (isLastOwner(members, member.userId)) setAsked({ what: "last-owner" });
    else if (member.userId === me) setAsked({ what: "own-role", member, role });
    else put(member, role);
  };
  const dialogs = (organization: string) => {
    if (!asked) return null;
    if (asked.what === "last-owner") {
      return (
        <Dialog
          open
          onClose={close}
          title={say.lastOwnerTitle(organization)}
          description={say.lastOwner}
          footer={
            <Button look="primary" onClick={close}>
              {say.understood}
            </Button>
          }
        />
      );
    }
    if (asked.what === "own-role") {
      return (
        <Confirm
          open
          onClose={close}
          title={`Become ${roleName(asked.role)}`}
          description="You give up your role here. Only another owner or administrator can give it back."
          action={`Become ${roleName(asked.role)}`}
          busy={update.isPending}
          onConfirm={() => put(asked.member, asked.role)}
        />
      );
    }
    if (asked.what === "revoke") {
      const { email, id } = asked.invitation;
      return (
        <Confirm
          open
          danger
          onClose={close}
          title={say.revokeTitle}
          description={say.revokeWhat(email)}
          action={say.revokeTitle}
          busy={revoke.isPending}
          onConfirm={() => revoke.mutate(id, { onSuccess: () => done(say.revoked(email)), onError: refused })}
        />
      );
    }
    if (asked.what === "leave") {
      return (
        <Confirm
          open
          danger
          onClose={close}
          title={say.leaveTitle(organization)}
          description={say.leaveWhat(organization)}
          action={say.leaveTitle(organization)}
          busy={leave.isPending}
          onConfirm={() =>
            leave.mutate(undefined, {
              onSuccess: () => {
                done(say.left(organization));
                router.push(paths.home);
              },
              onError: refused,
            })
          }
        />
      );
    }
    const person = nameOf(asked.member);
    return (
      <Confirm
        open
        danger
        onClose={close}
        title={say.removeTitle(person)}
        description={say.removeWhat(person, organization)}
        action={say.removeTitle(person)}
        busy={remove.isPending}
        onConfirm={() => remove.mutate(asked.member, { onSuccess: () => done(say.removed(person)), onError: refused })}
      />
    );
  };
  return { ask, change, dialogs, problem, setProblem };
}
