import type { Cluster } from "@/gen/supalove/v1/cluster_pb";
import { reservedOf } from "@/lib/capacity";
import { Card, cx, Meter, Skeleton } from "@/ui";

/** What projects reserve of what the cluster's nodes have. */
export function Figures({ cluster }: { cluster: Cluster | undefined }) {
  return (
    <Card className="grid grid-cols-2 overflow-hidden lg:grid-cols-4">
      {reservedOf(cluster?.used, cluster?.capacity).map(({ id, label, used, limit, text }, index) => {
        const [number, ...rest] = text.split(" ");
        return (
          <div
            key={id}
            className={cx(
              "border-line px-4 py-4 md:px-5",
              index % 2 === 1 && "border-l",
              index >= 2 && "border-t lg:border-t-0",
              index === 2 && "lg:border-l",
            )}
          >
            <div className="text-13 text-ink-2">{label}</div>
            {cluster ? (
              <>
                <div className="num mb-3.5 text-20 font-semibold tracking-title">
                  {number} <span className="text-13 font-normal tracking-normal text-ink-2">{rest.join(" ")}</span>
                </div>
                <Meter label={`${label} reserved`} used={used} limit={limit} text={text} />
              </>
            ) : (
              <Skeleton className="mt-1 h-9 w-28" />
            )}
          </div>
        );
      })}
    </Card>
  );
}
