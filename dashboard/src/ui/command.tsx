"use client";

import { Search } from "lucide-react";
import { type KeyboardEvent, type ReactNode, useEffect, useId, useMemo, useRef, useState } from "react";
import { best } from "@/lib/fuzzy";
import { cx } from "./cx";
import { Icon } from "./icon";

export interface Command {
  id: string;
  /** Heading under which it stands. */
  group: string;
  label: string;
  /** Small, behind the label: a ref, an organization. Found by, too. */
  hint?: string;
  /** Stands before the label. */
  sign?: ReactNode;
  /** Stands at the right: a state, a shortcut. */
  aside?: ReactNode;
  /** Only shown when something is typed. */
  hidden?: boolean;
  run: () => void;
}

interface Props {
  label: string;
  placeholder: string;
  commands: Command[];
  /** Says that nothing matches. */
  empty: (typed: string) => ReactNode;
  onDone: () => void;
  large?: boolean;
}

/** Type to filter, arrows to move, Enter to choose. In the search and in the switcher. */
export function CommandList({ label, placeholder, commands, empty, onDone, large }: Props) {
  const id = useId();
  const [typed, setTyped] = useState("");
  const [active, setActive] = useState(0);
  const list = useRef<HTMLDivElement>(null);
  const found = useMemo(() => {
    const open = typed.trim() ? commands : commands.filter(({ hidden }) => !hidden);
    const matching = best(typed, open, ({ label, hint }) => `${label} ${hint ?? ""}`, typed.trim() ? 24 : 60);
    // Groups in the order of their best match.
    const groups = [...new Set(matching.map(({ group }) => group))];
    return groups.map((group) => ({ group, items: matching.filter((item) => item.group === group) }));
  }, [typed, commands]);
  const flat = found.flatMap(({ items }) => items);
  const chosen = flat[Math.min(active, flat.length - 1)];

  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  });

  const run = (command: Command | undefined) => {
    if (!command) return;
    onDone();
    command.run();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const moves: Record<string, number> = { ArrowDown: active + 1, ArrowUp: active - 1, Home: 0, End: flat.length - 1 };
    const next = moves[event.key];
    if (next !== undefined && flat.length > 0) {
      event.preventDefault();
      setActive((next + flat.length) % flat.length);
    }
    if (event.key === "Enter" && !event.nativeEvent.isComposing) {
      event.preventDefault();
      run(chosen);
    }
  };
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <div className={cx("flex items-center gap-2.5 border-b border-line", large ? "h-13 px-4" : "h-11 px-3")}>
        <Icon of={Search} className="text-ink-3" />
        <input
          // The field is what one opens it for.
          // biome-ignore lint/a11y/noAutofocus: a dialog's first field
          autoFocus
          role="combobox"
          aria-label={label}
          aria-expanded="true"
          aria-controls={`${id}-list`}
          aria-activedescendant={chosen && `${id}-${chosen.id}`}
          aria-autocomplete="list"
          autoComplete="off"
          spellCheck={false}
          placeholder={placeholder}
          value={typed}
          onChange={(event) => {
            setTyped(event.target.value);
            setActive(0);
          }}
          onKeyDown={onKeyDown}
          className={cx(
            "min-w-0 flex-1 bg-transparent text-16 outline-none placeholder:text-ink-3",
            large ? "md:text-14" : "md:text-13",
          )}
        />
      </div>
      <div
        ref={list}
        id={`${id}-list`}
        role="listbox"
        aria-label={label}
        tabIndex={-1}
        className="min-h-0 flex-1 overflow-y-auto p-1.5 text-13 outline-none"
      >
        {found.map(({ group, items }) => (
          // biome-ignore lint/a11y/useSemanticElements: a group of a listbox
          <div key={group} role="group" aria-label={group}>
            <div aria-hidden="true" className="px-2.5 pt-2 pb-1 text-12 font-medium text-ink-3">
              {group}
            </div>
            {items.map((item) => (
              // biome-ignore lint/a11y/useKeyWithClickEvents: the input has the keys
              // biome-ignore lint/a11y/useFocusableInteractive: the input keeps the focus
              <div
                key={item.id}
                id={`${id}-${item.id}`}
                role="option"
                aria-selected={item === chosen}
                onMouseMove={() => setActive(flat.indexOf(item))}
                onClick={() => run(item)}
                className={cx(
                  "flex min-h-10 cursor-pointer items-center gap-2.5 rounded-2 px-2.5 md:min-h-9",
                  item === chosen && "bg-hover",
                )}
              >
                {item.sign}
                <span className="min-w-0 truncate font-medium">{item.label}</span>
                {item.hint && <span className="min-w-0 flex-1 truncate text-12 text-ink-3">{item.hint}</span>}
                {item.aside && <span className="ml-auto shrink-0">{item.aside}</span>}
              </div>
            ))}
          </div>
        ))}
        {flat.length === 0 && <p className="px-2.5 py-6 text-center text-ink-2">{empty(typed.trim())}</p>}
      </div>
    </div>
  );
}
