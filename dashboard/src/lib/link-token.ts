"use client";

import { useEffect, useState } from "react";

/** The token of a link stands behind "#", where no server sees it. It is read once and taken out of the address. */
export function useLinkToken(): string | undefined {
  const [token, setToken] = useState<string>();
  useEffect(() => {
    setToken((known) => known ?? takeToken());
  }, []);
  return token;
}

let taken: string | undefined;

function takeToken(): string {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) {
    taken = found;
    history.replaceState(history.state, "", location.pathname + location.search);
  }
  return found ?? taken ?? "";
}
