// An application whose platform has `using`: the declarations for it are a file of their own.
import { RateLimitService } from "tidegate";
import type {} from "tidegate/dispose";

export function once(): void {
  using service = new RateLimitService();
  service.getCircuitState();
}
