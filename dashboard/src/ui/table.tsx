"use client";

import { ArrowDown, ArrowUp } from "lucide-react";
import type { ReactNode } from "react";
import { cx } from "./cx";
import { Icon } from "./icon";
import { Card, Skeleton } from "./small";

export interface Column<Row> {
  id: string;
  head: string;
  cell: (row: Row) => ReactNode;
  /** Numbers stand right. */
  right?: boolean;
  /** Not on phones: it is in the row's page, or under the first column. */
  wide?: boolean;
  /** The head is for readers only, e.g. of the menu. */
  hideHead?: boolean;
  sortable?: boolean;
  className?: string;
}

interface Props<Row> {
  /** What the table lists, for readers. */
  caption: string;
  columns: Column<Row>[];
  rows: Row[] | undefined;
  rowKey: (row: Row) => string;
  sort?: { by: string; down: boolean };
  onSort?: (by: string) => void;
  /** How many rows are shown as boxes while `rows` is undefined. */
  expected?: number;
  /** Without a card around it. */
  bare?: boolean;
}

/** A list of at most some hundred rows. The first column has the link. */
export function Table<Row>({ caption, columns, rows, rowKey, sort, onSort, expected = 3, bare }: Props<Row>) {
  const table = (
    <table className="w-full border-separate border-spacing-0 text-13" aria-busy={rows === undefined || undefined}>
      <caption className="sr-only">{caption}</caption>
      <thead>
        <tr>
          {columns.map((column) => (
            <th
              key={column.id}
              scope="col"
              aria-sort={sort?.by === column.id ? (sort.down ? "descending" : "ascending") : undefined}
              className={cx(HEAD, column.right && "text-right", column.wide && "max-md:hidden", column.className)}
            >
              {column.sortable && onSort ? (
                <button
                  type="button"
                  onClick={() => onSort(column.id)}
                  className="inline-flex items-center gap-1 rounded-1 hover:text-ink"
                >
                  {column.head}
                  {sort?.by === column.id && <Icon of={sort.down ? ArrowDown : ArrowUp} small />}
                </button>
              ) : (
                <span className={cx(column.hideHead && "sr-only")}>{column.head}</span>
              )}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows?.map((row) => (
          <tr key={rowKey(row)} className="group">
            {columns.map((column) => (
              <td
                key={column.id}
                className={cx(CELL, column.right && "num text-right", column.wide && "max-md:hidden", column.className)}
              >
                {column.cell(row)}
              </td>
            ))}
          </tr>
        ))}
        {rows === undefined &&
          Array.from({ length: expected }, (_, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: boxes without content
            <tr key={index}>
              {columns.map((column, place) => (
                <td key={column.id} className={cx(CELL, column.wide && "max-md:hidden")}>
                  <Skeleton className={place === 0 ? "h-4 w-40" : "h-4 w-16"} />
                </td>
              ))}
            </tr>
          ))}
      </tbody>
    </table>
  );
  return bare ? table : <Card className="overflow-hidden">{table}</Card>;
}

const HEAD =
  "h-9 border-b border-line px-2 text-left text-12 font-medium whitespace-nowrap text-ink-3 first:pl-4 last:pr-3 md:px-3";
const CELL =
  "h-15 border-b border-line px-2 align-middle group-last:border-b-0 group-hover:bg-row-hover first:pl-4 last:pr-3 md:h-13 md:px-3 max-md:first:w-full max-md:first:max-w-0";
