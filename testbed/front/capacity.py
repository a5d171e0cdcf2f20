"""How many machines can be had: pools of type, zone and market, and the account's vCPU quotas."""

from .call import AwsError
from .engine import vcpus

# Service Quotas codes of the standard families (A, C, D, H, I, M, R, T, Z).
QUOTAS = {
    "L-1216C47A": ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", "on-demand", 1152),
    "L-34B43A08": ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "spot", 640),
}


class Capacity:
    def __init__(self, records):
        self._records = records
        self._pools = {}
        self.quotas = {market: value for _, market, value in QUOTAS.values()}

    def set_pool(self, instance_type, zone, market, machines):
        """Limits a pool to `machines` running at once; None lifts the limit. `*` matches any."""
        key = (instance_type or "*", zone or "*", market or "*")
        if machines is None:
            self._pools.pop(key, None)
        else:
            self._pools[key] = int(machines)

    def state(self):
        pools = [dict(zip(("type", "zone", "market", "capacity"), (*key, value))) for key, value in self._pools.items()]
        return {"pools": pools, "quotas": dict(self.quotas)}

    def _alive(self):
        return [record for record in self._records.values() if record.uses_capacity]

    def room(self, instance_type, zone, market):
        """Machines that the pool still has; None if it has no limit."""
        best = None
        for key, limit in self._pools.items():
            wanted = (instance_type, zone, market)
            if any(mine not in ("*", theirs) for mine, theirs in zip(key, wanted)):
                continue
            used = sum(
                1
                for record in self._alive()
                if all(mine in ("*", theirs) for mine, theirs in zip(key, (record.type, record.zone, record.market)))
            )
            left = max(0, limit - used)
            best = left if best is None else min(best, left)
        return best

    def quota_room(self, instance_type, market):
        """Machines of this type that the account's vCPU quota still allows."""
        used = sum(vcpus(record.type) or 0 for record in self._alive() if record.market == market)
        return int(max(0, self.quotas[market] - used) // (vcpus(instance_type) or 1))

    def grant(self, instance_type, zone, market, least, most):
        """How many of `most` machines to launch; an error when `least` cannot be had."""
        quota = self.quota_room(instance_type, market)
        if quota < least:
            if market == "spot":
                raise AwsError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
            raise AwsError(
                "VcpuLimitExceeded",
                f"You have requested more vCPU capacity than your current vCPU limit of {self.quotas[market]} allows "
                "for the instance bucket that the specified instance type belongs to. Please visit "
                "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.",
            )
        room = self.room(instance_type, zone, market)
        if room is not None and room < least:
            raise AwsError(
                "InsufficientInstanceCapacity",
                f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested "
                f"({zone}). Our system will be working on provisioning additional capacity.",
                500,
            )
        return min(most, quota, most if room is None else room)
