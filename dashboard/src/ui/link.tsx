"use client";

import NextLink from "next/link";
import { useRouter } from "next/navigation";
import type { ComponentProps } from "react";
import { cx } from "./cx";

type Props = Omit<ComponentProps<typeof NextLink>, "href" | "prefetch"> & { href: string };

/** A link within the dashboard. It fetches the page ahead on hover and focus, not on sight: a grid has a thousand of them. */
export function Link({ href, onMouseEnter, onFocus, ...rest }: Props) {
  const router = useRouter();
  const ahead = () => router.prefetch(href);
  return (
    <NextLink
      {...rest}
      href={href}
      prefetch={false}
      onMouseEnter={(event) => {
        ahead();
        onMouseEnter?.(event);
      }}
      onFocus={(event) => {
        ahead();
        onFocus?.(event);
      }}
    />
  );
}

/** A link in a text. */
export function TextLink({ className, ...rest }: Props) {
  return <Link {...rest} className={cx("font-medium text-link underline-offset-3 hover:underline", className)} />;
}
