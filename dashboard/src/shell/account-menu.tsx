"use client";

import { useMutation } from "@tanstack/react-query";
import { ChevronsUpDown, Keyboard, LogOut, Monitor, Moon, Sun, User } from "lucide-react";
import { useRouter } from "next/navigation";
import { auth } from "@/api/clients";
import { explain, told } from "@/api/errors";
import { useMe } from "@/api/queries/organizations";
import { leave } from "@/api/session";
import { paths } from "@/lib/routes";
import { type Theme, useTheme } from "@/lib/theme";
import { Avatar, Icon, Menu, MenuItem, MenuLabel, MenuLine, toastFailure } from "@/ui";
import { openShortcuts } from "./shortcuts-state";

const THEMES: { value: Theme; label: string; icon: typeof Sun }[] = [
  { value: "system", label: "System", icon: Monitor },
  { value: "light", label: "Light", icon: Sun },
  { value: "dark", label: "Dark", icon: Moon },
];

export function AccountMenu() {
  const { data: me } = useMe();
  const [theme, setTheme] = useTheme();
  const router = useRouter();
  const signOut = useMutation({
    mutationFn: () => auth.signOut({}),
    onSuccess: leave,
    onError: (error) => toastFailure(`You are still signed in. ${told(explain(error))}`),
  });
  const name = me?.displayName || me?.email || "";
  return (
    <Menu
      align="start"
      side="top"
      trigger={
        <button
          type="button"
          className="flex h-10 w-full items-center gap-2.5 rounded-2 px-2 text-left hover:bg-nav-hover group-data-folded/shell:md:px-0.5"
        >
          <Avatar name={name} />
          <span className="sr-only">Account of </span>
          <span className="flex-1 truncate font-medium group-data-folded/shell:md:sr-only">{name}</span>
          <Icon of={ChevronsUpDown} className="text-ink-3 group-data-folded/shell:md:hidden" />
        </button>
      }
    >
      <div className="px-2.5 pt-1.5 pb-2">
        <div className="truncate font-medium">{name}</div>
        <div className="truncate text-12 text-ink-3">{me?.email}</div>
      </div>
      <MenuLine />
      <MenuItem icon={User} onSelect={() => router.push(paths.account())}>
        Account
      </MenuItem>
      <MenuItem icon={Keyboard} shortcut="?" onSelect={openShortcuts}>
        Keyboard shortcuts
      </MenuItem>
      <MenuLine />
      <MenuLabel>Theme</MenuLabel>
      {THEMES.map(({ value, label, icon }) => (
        <MenuItem key={value} icon={icon} checked={theme === value} onSelect={() => setTheme(value)}>
          {label}
        </MenuItem>
      ))}
      <MenuLine />
      <MenuItem icon={LogOut} onSelect={() => signOut.mutate()}>
        Sign out
      </MenuItem>
    </Menu>
  );
}
