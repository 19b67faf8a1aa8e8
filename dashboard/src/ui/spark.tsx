/** A line without axes, beside a number that says how much it is. Decoration. */

const WIDTH = 96;
const HEIGHT = 28;

interface Props {
  /** Values in their order, evenly apart; undefined where nothing is known. */
  values: (number | undefined)[];
  /** What the full height is, at least. */
  most: number;
}

export function Spark({ values, most }: Props) {
  const top = Math.max(most, ...values.map((value) => value ?? 0)) || 1;
  const x = (index: number) => (index / Math.max(1, values.length - 1)) * WIDTH;
  const y = (value: number) => HEIGHT - 1 - (value / top) * (HEIGHT - 2);
  const runs: string[][] = [];
  let run: string[] = [];
  for (const [index, value] of values.entries()) {
    if (value === undefined) run = [];
    else {
      if (run.length === 0) runs.push(run);
      run.push(`${x(index).toFixed(1)} ${y(value).toFixed(1)}`);
    }
  }
  return (
    <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true" className="h-7 w-24 shrink-0 overflow-visible text-ink-3">
      {runs.map((points) => (
        <g key={points[0]}>
          <path
            d={`M${points.join("L")}L${points.at(-1)!.split(" ")[0]} ${HEIGHT}L${points[0]!.split(" ")[0]} ${HEIGHT}Z`}
            className="fill-current opacity-10"
          />
          <path d={`M${points.join("L")}`} fill="none" strokeWidth={1.5} strokeLinejoin="round" className="stroke-current" />
        </g>
      ))}
    </svg>
  );
}
