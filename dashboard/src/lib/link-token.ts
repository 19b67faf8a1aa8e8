"use client";

import { useEffect, useState } from "react";

/**
 * The token of a link stands behind "#", where no server sees it. It is read once and taken out of the address.
 *
 * Undefined before it is known whether there is one; empty if there is none.
 */
export function useLinkToken(): string | undefined {
  const [token, setToken] = useState<string>();
  useEffect(() => {
    setToken((known) => known ?? takeToken());
  }, []);
  return token;
}

/** By page, for who signs in on the way and comes back. */
const taken = new Map<string, string>();

function takeToken(): string {
  const { hash, pathname, search } = location;
  const found = new URLSearchParams(hash.slice(1)).get("token");
  if (found) {
    taken.set(pathname, found);
    history.replaceState(history.state, "", pathname + search);
  }
  return taken.get(pathname) ?? "";
}
