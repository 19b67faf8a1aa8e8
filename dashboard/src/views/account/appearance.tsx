"use client";

import { useStored } from "@/lib/stored";
import { type Theme, useTheme } from "@/lib/theme";
import { FormCard, Segmented, Switch } from "@/ui";
import { messages as say } from "./messages";

const THEMES: { value: Theme; label: string }[] = [
  { value: "system", label: "System" },
  { value: "light", label: "Light" },
  { value: "dark", label: "Dark" },
];

export function Appearance() {
  const [theme, setTheme] = useTheme();
  const [letters, setLetters] = useStored("letters", "on");
  return (
    <>
      <FormCard title={say.theme} description={say.themeWhat}>
        <div>
          <Segmented label={say.theme} value={theme} segments={THEMES} onChange={setTheme} />
        </div>
      </FormCard>
      <FormCard title="Keyboard">
        <Switch
          label={say.letters}
          hint={say.lettersWhat}
          checked={letters === "on"}
          onChange={(on) => setLetters(on ? "on" : "off")}
        />
      </FormCard>
    </>
  );
}
