/** Times: relative to now as people say them, and exact. */

import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Milliseconds of the epoch; undefined stays undefined. */
export function millis(time: Timestamp | undefined): number | undefined {
  return time && timestampMs(time);
}

/** "38 s ago", "5 min ago", "3 h ago", "yesterday", "6 Dec", "6 Dec 2025"; of the future "in 4 h", "tomorrow". */
export function relative(time: number, now: number): string {
  const ahead = time > now;
  const distance = Math.abs(now - time);
  const say = (text: string) => (ahead ? `in ${text}` : `${text} ago`);
  if (distance < 5 * SECOND) return ahead ? "in a moment" : "now";
  if (distance < MINUTE) return say(`${Math.floor(distance / SECOND)} s`);
  if (distance < HOUR) return say(`${Math.floor(distance / MINUTE)} min`);
  const days = dayNumber(time) - dayNumber(now);
  if (distance < 12 * HOUR || days === 0) return say(`${Math.floor(distance / HOUR)} h`);
  if (days === -1) return "yesterday";
  if (days === 1) return "tomorrow";
  if (Math.abs(days) < 14) return say(`${Math.abs(days)} days`);
  return day(time, now);
}

/** "6 Dec", with the year if it is another one. */
export function day(time: number, now: number): string {
  const date = new Date(time);
  const year = date.getFullYear() === new Date(now).getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${date.getDate()} ${MONTHS[date.getMonth()]}${year}`;
}
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const exactly = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});

/** "6 Dec 2026, 14:02:11 CET", by the clock of this browser. */
export function exact(time: number): string {
  return exactly.format(time);
}

const byClock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** "14:02", by the clock of this browser. */
export function clock(time: number): string {
  return byClock.format(time);
}

/** A span: "41 s", "3 min", "1 h 20 min", "7 days". */
export function inWords(span: number): string {
  if (span < MINUTE) return `${Math.max(1, Math.round(span / SECOND))} s`;
  if (span < HOUR) return `${Math.round(span / MINUTE)} min`;
  const minutes = Math.round((span % HOUR) / MINUTE);
  if (span < DAY) return `${Math.floor(span / HOUR)} h${minutes > 0 && minutes < 60 ? ` ${minutes} min` : ""}`;
  const days = Math.round(span / DAY);
  return days === 1 ? "1 day" : `${days} days`;
}

/** How long until `relative` may say something else. */
export function nextChange(time: number, now: number): number {
  const distance = Math.abs(now - time);
  if (distance < MINUTE) return SECOND;
  if (distance < HOUR) return 15 * SECOND;
  return 5 * MINUTE;
}

/** Days since the epoch, by local midnights. */
function dayNumber(time: number): number {
  const date = new Date(time);
  return Math.round(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / DAY);
}
