"use client";

import { Menu as Base } from "@base-ui/react/menu";
import { Check, Ellipsis, type LucideIcon } from "lucide-react";
import type { ReactElement, ReactNode } from "react";
import { IconButton } from "./button";
import { cx } from "./cx";
import { Icon } from "./icon";
import { Kbd } from "./small";

const POPUP =
  "floating z-50 min-w-48 max-w-80 rounded-3 bg-raised p-1 text-13 shadow-float outline-none transition-opacity duration-(--mid) data-[ending-style]:opacity-0 data-[starting-style]:opacity-0";
const ITEM =
  "flex min-h-10 cursor-pointer items-center gap-2.5 rounded-2 px-2.5 font-medium text-ink outline-none select-none data-[highlighted]:bg-hover md:min-h-8";

interface MenuProps {
  trigger: ReactElement;
  children: ReactNode;
  align?: "start" | "center" | "end";
  side?: "top" | "bottom";
}

export function Menu({ trigger, children, align = "end", side = "bottom" }: MenuProps) {
  return (
    <Base.Root modal={false}>
      <Base.Trigger render={trigger} />
      <Base.Portal>
        <Base.Positioner align={align} side={side} sideOffset={4} className="z-50 outline-none">
          <Base.Popup className={POPUP}>{children}</Base.Popup>
        </Base.Positioner>
      </Base.Portal>
    </Base.Root>
  );
}

/** The "…" of a row or a card: "Actions for storefront". */
export function ActionsMenu({ of, children, className }: { of: string; children: ReactNode; className?: string }) {
  return (
    <Menu trigger={<IconButton small label={`Actions for ${of}`} icon={Ellipsis} className={className} />}>{children}</Menu>
  );
}

interface ItemProps {
  icon?: LucideIcon;
  children: ReactNode;
  onSelect?: () => void;
  href?: string;
  shortcut?: string;
  danger?: boolean;
  checked?: boolean;
}

export function MenuItem({ icon, children, onSelect, href, shortcut, danger, checked }: ItemProps) {
  const content = (
    <>
      {icon && <Icon of={icon} className={danger ? "text-bad-dot" : "text-ink-3"} />}
      <span className="flex-1 truncate">{children}</span>
      {checked && <Icon of={Check} className="text-ink-2" />}
      {shortcut && <Kbd>{shortcut}</Kbd>}
    </>
  );
  const className = cx(ITEM, danger && "text-bad");
  if (href)
    return (
      <Base.LinkItem href={href} className={className} closeOnClick onClick={onSelect}>
        {content}
      </Base.LinkItem>
    );
  return (
    <Base.Item className={className} onClick={onSelect} aria-checked={checked}>
      {content}
    </Base.Item>
  );
}

/** Before the item that deletes. */
export function MenuLine() {
  return <Base.Separator className="mx-1 my-1 h-px bg-line" />;
}

export function MenuLabel({ children }: { children: ReactNode }) {
  return <div className="px-2.5 pt-1.5 pb-1 text-12 font-medium text-ink-3">{children}</div>;
}
