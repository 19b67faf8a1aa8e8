"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { KeyRound, Plus } from "lucide-react";
import { useState } from "react";
import { personalAccessTokens } from "@/api/clients";
import { explain, told } from "@/api/errors";
import { keys } from "@/api/keys";
import { useTokens } from "@/api/queries/account";
import type { PersonalAccessToken } from "@/gen/supalove/v1/personal_access_token_pb";
import { millis } from "@/lib/time";
import { list } from "@/lib/words";
import { Button, type Column, Confirm, EmptyState, ErrorState, RelativeTime, Section, Table, toast, toastFailure } from "@/ui";
import { PLATFORM_SCOPE, SCOPES, messages as say } from "./messages";
import { NewToken } from "./new-token";

export function TokenList({ operator }: { operator: boolean }) {
  const cache = useQueryClient();
  const { data, error, refetch } = useTokens();
  const [creates, setCreates] = useState(false);
  const [revokes, setRevokes] = useState<PersonalAccessToken>();
  const revoke = useMutation({
    mutationFn: ({ id }: PersonalAccessToken) => personalAccessTokens.revokePersonalAccessToken({ personalAccessTokenId: id }),
    onSuccess: (_answer, { name }) => toast(say.revoked(name)),
    onError: (error) => toastFailure(told(explain(error))),
    onSettled: () => {
      setRevokes(undefined);
      void cache.invalidateQueries({ queryKey: keys.tokens });
    },
  });
  const create = (
    <Button look="primary" icon={Plus} onClick={() => setCreates(true)}>
      {say.newToken}
    </Button>
  );
  if (error && !data) return <ErrorState title={say.tokensFailed} error={error} onRetry={() => void refetch()} />;
  return (
    <Section first title={say.tokens} actions={data && data.length > 0 && create}>
      {data?.length === 0 ? (
        <EmptyState title={say.noTokensTitle} icon={KeyRound} action={create}>
          {say.noTokens}
        </EmptyState>
      ) : (
        <Table caption={say.tokensWhat} columns={columns(setRevokes)} rows={data} rowKey={({ id }) => id} />
      )}
      <NewToken open={creates} onClose={() => setCreates(false)} operator={operator} />
      <Confirm
        open={revokes !== undefined}
        onClose={() => setRevokes(undefined)}
        title={say.revokeTitle(revokes?.name ?? "")}
        description={say.revokeWhat}
        action={say.revokeTitle(revokes?.name ?? "")}
        danger
        busy={revoke.isPending}
        onConfirm={() => revokes && revoke.mutate(revokes)}
      />
    </Section>
  );
}

function columns(revoke: (token: PersonalAccessToken) => void): Column<PersonalAccessToken>[] {
  const labels = new Map([...SCOPES, PLATFORM_SCOPE].map(({ scope, label }) => [scope, label]));
  return [
    {
      id: "name",
      head: say.tokenName,
      cell: (token) => (
        <div className="min-w-0">
          <div className="truncate font-medium">{token.name}</div>
          <div className="truncate text-12 text-ink-3">
            {list(token.scopes.map((scope) => labels.get(scope) ?? `Scope ${scope}`))}
          </div>
        </div>
      ),
    },
    { id: "used", head: say.used, wide: true, cell: (token) => <RelativeTime time={millis(token.lastUseTime)} /> },
    { id: "expires", head: say.expires, cell: (token) => <RelativeTime time={millis(token.expireTime)} /> },
    {
      id: "acts",
      head: "Actions",
      hideHead: true,
      right: true,
      cell: (token) => (
        <Button size="small" look="ghost" aria-label={say.revokeTitle(token.name)} onClick={() => revoke(token)}>
          {say.revoke}
        </Button>
      ),
    },
  ];
}
