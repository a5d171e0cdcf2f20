"""Prices from the checked-in fixture: the price list, the spot price history, the quotas."""

import datetime
import json
import pathlib

from . import instance_view
from .call import AwsError, moment
from .capacity import QUOTAS

FIXTURE = json.loads((pathlib.Path(__file__).parent.parent / "fixtures" / "prices.json").read_text())
# Hours before now at which a spot price changed, and the factor that it had from then on.
SPOT_CHANGES = ((5, 1.0), (29, 1.08), (77, 0.95))


def on_demand(instance_type, region="us-east-1"):
    """USD an hour; None if the fixture has no such type or region."""
    known = FIXTURE["types"].get(instance_type)
    factor = FIXTURE["region_factor"].get(region)
    return round(known["usd"] * factor, 6) if known and factor else None


def spot(instance_type, zone):
    """USD an hour in a zone such as `us-east-1a`."""
    price = on_demand(instance_type, zone[:-1])
    if price is None:
        return None
    return round(price * FIXTURE["types"][instance_type]["spot"] * (1 + 0.02 * (ord(zone[-1]) - ord("a"))), 6)


def spot_history(bed, call):
    params = call.params
    filters = {f["Name"]: f["Values"] for f in params.get("Filters") or []}
    types = params.get("InstanceTypes") or filters.get("instance-type") or list(FIXTURE["types"])
    products = params.get("ProductDescriptions") or filters.get("product-description") or ["Linux/UNIX"]
    zones = sorted(bed.engine.ec2(call.account, call.region).get_default_subnets())
    wanted_zone = params.get("AvailabilityZone") or filters.get("availability-zone")
    if wanted_zone:
        zones = [zone for zone in zones if zone in ([wanted_zone] if isinstance(wanted_zone, str) else wanted_zone)]
    now = bed.clock.now()
    start = params.get("StartTime")
    start = start.replace(tzinfo=datetime.timezone.utc).timestamp() if start else None
    rows = []
    for instance_type in types:
        for zone in zones:
            price = spot(instance_type, zone)
            if price is None or "Linux/UNIX" not in products and "Linux/UNIX (Amazon VPC)" not in products:
                continue
            for hours, factor in SPOT_CHANGES:
                when = now - hours * 3600
                rows.append(
                    {
                        "InstanceType": instance_type,
                        "AvailabilityZone": zone,
                        "ProductDescription": "Linux/UNIX",
                        "SpotPrice": f"{price * factor:.6f}",
                        "Timestamp": moment(when),
                    }
                )
                # The price that was in force at the start counts too.
                if start is not None and when <= start:
                    break
    for index, row in enumerate(rows):
        row["_order"] = index + 1
    rows, token = instance_view.page(rows, params, 1000, lambda row: row["_order"])
    return {"SpotPriceHistory": rows, "NextToken": token or ""}


def get_products(bed, call):
    if call.region not in ("us-east-1", "eu-central-1", "ap-south-1"):
        raise AwsError("EndpointNotFound", f"Pricing has no endpoint in {call.region}", 404)
    wanted = {f["Field"]: f["Value"] for f in call.params.get("Filters") or []}
    products = []
    if call.params["ServiceCode"] == "AmazonEC2":
        for instance_type, known in FIXTURE["types"].items():
            for region, location in FIXTURE["location"].items():
                attributes = {
                    "instanceType": instance_type, "regionCode": region, "location": location,
                    "operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used",
                    "licenseModel": "No License required", "vcpu": known["vcpu"], "memory": known["memory"],
                    "instanceFamily": known["family"], "servicecode": "AmazonEC2", "marketoption": "OnDemand",
                    "operation": "RunInstances",
                }  # fmt: skip
                if all(attributes.get(field) == value for field, value in wanted.items() if field != "productFamily"):
                    products.append(_product(instance_type, region, attributes))
    for index, product in enumerate(products):
        product["_order"] = index + 1
    page, token = instance_view.page(products, call.params, 100, lambda product: product["_order"], code="InvalidNextTokenException")
    lines = [json.dumps({key: value for key, value in product.items() if key != "_order"}) for product in page]
    return {"FormatVersion": "aws_v1", "PriceList": lines, "NextToken": token}


def _product(instance_type, region, attributes):
    sku = f"{instance_type}{region}".replace(".", "").replace("-", "").upper()[:16]
    term = f"{sku}.JRTCKXETXF"
    rate = f"{term}.6YS6EN2CT7"
    price = {
        "unit": "Hrs",
        "rateCode": rate,
        "beginRange": "0",
        "endRange": "Inf",
        "appliesTo": [],
        "description": f"${on_demand(instance_type, region)} per On Demand Linux {instance_type} Instance Hour",
        "pricePerUnit": {"USD": f"{on_demand(instance_type, region):.10f}"},
    }
    return {
        "product": {"productFamily": "Compute Instance", "sku": sku, "attributes": attributes},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {term: {"sku": sku, "offerTermCode": "JRTCKXETXF", "priceDimensions": {rate: price}}}},
        "version": "1",
    }


def get_service_quota(bed, call):
    return {"Quota": _quota(bed, call, call.params["ServiceCode"], call.params["QuotaCode"])}


def list_service_quotas(bed, call):
    code = call.params["ServiceCode"]
    return {"Quotas": [_quota(bed, call, code, quota) for quota in QUOTAS] if code == "ec2" else []}


def _quota(bed, call, service, code):
    if service != "ec2" or code not in QUOTAS:
        raise AwsError("NoSuchResourceException", "The request failed because the specified quota does not exist.")
    name, market, _ = QUOTAS[code]
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{call.region}:{call.account}:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": name,
        "Value": float(bed.capacity.quotas[market]),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


OPERATIONS = {
    "pricing:GetProducts": get_products,
    "service-quotas:GetServiceQuota": get_service_quota,
    "service-quotas:GetAWSDefaultServiceQuota": get_service_quota,
    "service-quotas:ListServiceQuotas": list_service_quotas,
}
