"""Which pool (type, zone, market) a group launches its next machine from."""

from . import prices
from .call import AwsError
from .launching import market_of, merged, template_version


class Pool:
    def __init__(self, instance_type, zone, subnet, market, template, rank):
        self.type, self.zone, self.subnet, self.market = instance_type, zone, subnet, market
        self.template, self.rank = template, rank


def specification(group):
    """The launch template reference of a group, or of its mixed policy."""
    return group.mixed["LaunchTemplate"]["LaunchTemplateSpecification"] if group.mixed else group.template


def _base(bed, group, reference, **more):
    return merged(bed, group.account, group.region, {"LaunchTemplate": _one_name(reference), **more})


def _one_name(reference):
    """Describing a group shows both names of its template; a launch takes one."""
    kept = {key: value for key, value in reference.items() if value}
    if "LaunchTemplateId" in kept:
        kept.pop("LaunchTemplateName", None)
    return kept


def _next_market(bed, group, template_market):
    if not group.mixed or not group.mixed.get("InstancesDistribution"):
        return template_market if not group.mixed else "on-demand"
    have = [member.machine.market for member in group.counted]
    wanted = bed.groups.on_demand_wanted(group, len(have) + 1)
    return "on-demand" if have.count("on-demand") < wanted else "spot"


def choose(bed, group):
    """Pools in the order in which the group tries them for its next machine."""
    reference = specification(group)
    try:
        base = _base(bed, group, reference)
    except AwsError as error:
        # A template that is gone is told by the launch that fails on it.
        return [Pool(None, zone, subnet, "on-demand", reference, 0) for zone, subnet in _places(bed, group)[:1]] if error else []
    market = _next_market(bed, group, market_of(base))
    overrides = (group.mixed or {}).get("LaunchTemplate", {}).get("Overrides") or [{}]
    pools = []
    for rank, override in enumerate(overrides):
        template = override.get("LaunchTemplateSpecification") or reference
        for zone, subnet in _places(bed, group):
            pools.append(Pool(override.get("InstanceType") or base.get("InstanceType"), zone, subnet, market, template, rank))
    in_zone = {}
    for member in group.counted:
        in_zone[member.machine.zone] = in_zone.get(member.machine.zone, 0) + 1
    spread = (group.mixed or {}).get("InstancesDistribution") or {}
    strategy = spread.get("SpotAllocationStrategy" if market == "spot" else "OnDemandAllocationStrategy")

    def order(pool):
        room = bed.capacity.room(pool.type, pool.zone, market)
        depth = -(10**9 if room is None else room)
        price = (prices.spot(pool.type, pool.zone) if market == "spot" else prices.on_demand(pool.type, group.region)) or 10**9
        balance = in_zone.get(pool.zone, 0)
        empty = room == 0
        if market == "on-demand":
            return (empty, balance, price if strategy == "lowest-price" else pool.rank, pool.rank)
        if strategy in ("capacity-optimized", "capacity-optimized-prioritized"):
            return (empty, balance, depth, pool.rank)
        if strategy == "price-capacity-optimized":
            # Pools that are not about to run dry first, the cheapest of them.
            return (empty, balance, room is not None and room < 2, price, pool.rank)
        return (empty, balance, price, pool.rank)

    return sorted(pools, key=order)


def _places(bed, group):
    """(zone, subnet or None) of a group."""
    if not group.subnets:
        return [(zone, None) for zone in group.zones]
    backend = bed.engine.ec2(group.account, group.region)
    return [(backend.get_subnet(subnet).availability_zone, subnet) for subnet in group.subnets]


def parameters(bed, group, pool):
    """RunInstances parameters for one machine of the pool."""
    params = _base(bed, group, pool.template)
    if pool.type:
        params["InstanceType"] = pool.type
    if group.mixed:
        if params.get("InstanceMarketOptions"):
            raise AwsError("ValidationError", "Incompatible launch template: The launch template for a mixed instances policy must not request Spot Instances.")
        if pool.market == "spot":
            params["InstanceMarketOptions"] = {"MarketType": "spot"}
    if pool.subnet:

        nics = [dict(nic, SubnetId=pool.subnet) for nic in params.get("NetworkInterfaces") or []]
        if nics:
            params["NetworkInterfaces"] = nics
        else:
            params["SubnetId"] = pool.subnet
    else:
        params["Placement"] = {**(params.get("Placement") or {}), "AvailabilityZone": pool.zone}
    return params


def check_template(bed, account, region, reference):
    """What CreateAutoScalingGroup checks of a template: that it is there and names an image."""
    try:
        template, version = template_version(bed, account, region, _one_name(reference))
    except AwsError as error:
        raise AwsError("ValidationError", f"You must use a valid fully-formed launch template. {error.message}") from error
    if not version.data.get("ImageId"):
        raise AwsError("ValidationError", "You must use a valid fully-formed launch template. The request must contain the parameter ImageId")
    return template
