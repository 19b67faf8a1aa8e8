/** The shared worker: the hub lives here, whatever tabs come and go. */

import { Hub } from "./hub";
import { HUB_LOCK } from "./protocol";

void navigator.locks.request(HUB_LOCK, () => {
  new Hub().start();
  return new Promise<never>(() => {});
});
