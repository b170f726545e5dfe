// What a bundler makes of this must still carry the core. `result` is read by the test.
import { coreState, RateLimitService } from "tidegate";
import { resilientFetch } from "tidegate/supabase";

const service = new RateLimitService();
globalThis.result = service
  .executeWithRetry(({ attempt }) => attempt + 4)
  .then((value) => ({ value, core: coreState(), wrapped: typeof resilientFetch(service) }));
