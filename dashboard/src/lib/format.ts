/** Numbers with their units, in SI steps of 1,000 but for memory and disks, which are given in binary steps. */

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Bytes: "840 kB", "2.4 GB". Sizes of memory and disks are powers of two, so that a 2 GiB size reads "2 GB". */
export function bytes(value: number | bigint): string {
  let amount = Number(value);
  let unit = 0;
  while (amount >= 1024 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${short(amount, unit)} ${UNITS[unit]}`;
}

/** MiB, as sizes are given: 512 → "512 MB", 2048 → "2 GB". */
export function mebibytes(value: number | bigint): string {
  return bytes(Number(value) * 1024 * 1024);
}

/** "1.2 of 2 GB": the used in the limit's unit. */
export function bytesOf(used: number | bigint, limit: number | bigint): string {
  const most = Number(limit);
  let step = 1;
  let unit = 0;
  while (most / step >= 1024 && unit < UNITS.length - 1) {
    step *= 1024;
    unit += 1;
  }
  return `${short(Number(used) / step, unit)} of ${short(most / step, unit)} ${UNITS[unit]}`;
}

/** Thousandths of a core: 250 → "0.25 cores", 1000 → "1 core". */
export function cores(millis: number): string {
  return `${short2(millis / 1000)} ${millis === 1000 ? "core" : "cores"}`;
}

/** A share: 0.184 → "18 %". */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** One digit behind the point from GB on, and where three digits would hide how much it is. */
function short(amount: number, unit: number): string {
  return String(unit < 3 || amount >= 100 ? Math.round(amount) : Number(amount.toFixed(1)));
}

function short2(amount: number): string {
  return String(Number(amount.toFixed(2)));
}
