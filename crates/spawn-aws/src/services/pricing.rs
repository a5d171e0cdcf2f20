//! The price list: what AWS charges those who have no contract of their own.
//!
//! It answers in three regions, each for all regions of the partition `aws`; the other partitions
//! have no address that this client knows.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{AwsError, Client, ErrorKind, PRICING, Safety, Service, json_call};
use crate::services::{pages, repeated};

const API: (&Service, &str, &str) = (&PRICING, "AWSPriceListService", "1.1");

/// Something that has a price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// What it is: `instanceType`, `regionCode`, `operatingSystem`, `tenancy` and many more.
    pub attributes: BTreeMap<String, String>,
    /// Its rates without a contract.
    pub on_demand: Vec<Rate>,
}

/// A rate of a product.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// What is counted: `Hrs`.
    #[serde(default)]
    pub unit: String,
    /// For one unit, by currency, as AWS writes it: `USD` and `0.0960000000`.
    #[serde(default)]
    pub price_per_unit: BTreeMap<String, String>,
}

/// `GetProducts`, all pages: the products of a service whose attributes have exactly these values.
///
/// # Errors
/// See [`AwsError`]; [`ErrorKind::Validation`]: this partition has no price list.
pub fn get_products(
    client: &Client,
    service_code: &str,
    attributes: &[(&str, &str)],
) -> Result<Vec<Product>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        price_list: Vec<Value>,
        next_token: Option<String>,
    }
    let filters: Vec<Value> = attributes
        .iter()
        .map(|(field, value)| json!({ "Type": "TERM_MATCH", "Field": field, "Value": value }))
        .collect();
    let mut found = Vec::new();
    pages(
        |token| {
            let mut request = json!({
                "ServiceCode": service_code, "Filters": filters, "FormatVersion": "aws_v1",
                "MaxResults": 100,
            });
            if let Some(token) = token {
                request["NextToken"] = Value::String(token);
            }
            let answer: Answer = json_call(client, API, "GetProducts", Safety::Read, &request)?;
            for product in answer.price_list {
                found.push(read(product).map_err(|e| {
                    let message = format!("a product of the answer cannot be read: {e}");
                    AwsError::new(PRICING.name, "GetProducts", ErrorKind::Malformed, message)
                })?);
            }
            Ok(answer.next_token)
        },
        || repeated(&PRICING, "GetProducts"),
    )?;
    Ok(found)
}

/// A product is JSON in a string.
fn read(product: Value) -> Result<Product, serde_json::Error> {
    #[derive(Deserialize)]
    struct Document {
        product: Described,
        #[serde(default)]
        terms: Terms,
    }
    #[derive(Deserialize)]
    struct Described {
        #[serde(default)]
        attributes: BTreeMap<String, String>,
    }
    #[derive(Default, Deserialize)]
    struct Terms {
        #[serde(rename = "OnDemand", default)]
        on_demand: BTreeMap<String, Term>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Term {
        #[serde(default)]
        price_dimensions: BTreeMap<String, Rate>,
    }
    let document: Document = match product {
        Value::String(text) => serde_json::from_str(&text)?,
        other => serde_json::from_value(other)?,
    };
    let terms = document.terms.on_demand.into_values();
    Ok(Product {
        attributes: document.product.attributes,
        on_demand: terms
            .flat_map(|t| t.price_dimensions.into_values())
            .collect(),
    })
}

/// What a machine is that runs Linux, alone with no software of AWS's partners, on shared hardware.
const LINUX: [(&str, &str); 4] = [
    ("operatingSystem", "Linux"),
    ("tenancy", "Shared"),
    ("preInstalledSw", "NA"),
    ("capacitystatus", "Used"),
];

/// USD for an hour of one on-demand machine with Linux, shared hardware and no paid software. None:
/// the list has no such price, or more than one.
///
/// # Errors
/// See [`get_products`].
pub fn linux_on_demand(
    client: &Client,
    instance_type: &str,
    region: &str,
) -> Result<Option<f64>, AwsError> {
    let mut attributes = vec![("instanceType", instance_type), ("regionCode", region)];
    attributes.extend(LINUX);
    let products = get_products(client, "AmazonEC2", &attributes)?;
    Ok(one_price(&products, &attributes))
}

/// The one price of an hour that all products with these attributes have.
///
/// The list has products beside the wanted one that differ in an attribute that they need not have:
/// hours of capacity blocks and reservations, which cost nothing by the hour.
fn one_price(products: &[Product], attributes: &[(&str, &str)]) -> Option<f64> {
    let is = |product: &Product, name: &str, value: &str| {
        product.attributes.get(name).is_some_and(|v| v == value)
    };
    let is_or_lacks = |product: &Product, name: &str, value: &str| {
        product.attributes.get(name).is_none_or(|v| v == value)
    };
    let mut prices = products
        .iter()
        .filter(|p| attributes.iter().all(|(name, value)| is(p, name, value)))
        .filter(|p| is_or_lacks(p, "marketoption", "OnDemand"))
        .filter(|p| is_or_lacks(p, "operation", "RunInstances"))
        .flat_map(|p| &p.on_demand)
        .filter(|rate| rate.unit == "Hrs")
        .filter_map(|rate| rate.price_per_unit.get("USD")?.parse::<f64>().ok())
        .filter(|usd| usd.is_finite() && *usd > 0.0);
    let first = prices.next()?;
    prices.all(|usd| usd == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::scripted::{client, status};

    /// A product in the shape of AWS's answers, and how it differs from a plain machine.
    fn product(usd: &str, changes: &[(&str, &str)]) -> String {
        let mut attributes = json!({
            "enhancedNetworkingSupported": "Yes", "intelTurboAvailable": "Yes", "memory": "8 GiB",
            "dedicatedEbsThroughput": "Up to 2120 Mbps", "vcpu": "2", "classicnetworkingsupport": "false",
            "capacitystatus": "Used", "locationType": "AWS Region", "storage": "EBS only",
            "instanceFamily": "General purpose", "operatingSystem": "Linux", "regionCode": "eu-west-1",
            "physicalProcessor": "Intel Xeon Platinum 8175", "clockSpeed": "3.1 GHz", "ecu": "10",
            "networkPerformance": "Up to 10 Gigabit", "servicename": "Amazon Elastic Compute Cloud",
            "vpcnetworkingsupport": "true", "instanceType": "m5.large", "tenancy": "Shared",
            "usagetype": "EU-BoxUsage:m5.large", "normalizationSizeFactor": "4",
            "servicecode": "AmazonEC2", "licenseModel": "No License required",
            "currentGeneration": "Yes", "preInstalledSw": "NA", "location": "EU (Ireland)",
            "marketoption": "OnDemand", "operation": "RunInstances",
            "availabilityzone": "NA"
        });
        for (name, value) in changes {
            match *value {
                "" => attributes.as_object_mut().unwrap().remove(*name),
                value => attributes
                    .as_object_mut()
                    .unwrap()
                    .insert((*name).to_owned(), json!(value)),
            };
        }
        let rate = |unit: &str, usd: &str| {
            json!({
                "unit": unit, "endRange": "Inf", "description": "words", "appliesTo": [],
                "rateCode": "SKU.JRTCKXETXF.6YS6EN2CT7", "beginRange": "0",
                "pricePerUnit": { "USD": usd }
            })
        };
        json!({
            "product": { "productFamily": "Compute Instance", "attributes": attributes, "sku": "SKU" },
            "serviceCode": "AmazonEC2",
            "terms": {
                "OnDemand": { "SKU.JRTCKXETXF": {
                    "priceDimensions": { "SKU.JRTCKXETXF.6YS6EN2CT7": rate("Hrs", usd) },
                    "sku": "SKU", "effectiveDate": "2026-11-01T00:00:00Z",
                    "offerTermCode": "JRTCKXETXF", "termAttributes": {}
                } },
                "Reserved": { "SKU.4NA7Y494T4": {
                    "priceDimensions": {
                        "SKU.4NA7Y494T4.6YS6EN2CT7": rate("Hrs", "0.0670000000"),
                        "SKU.4NA7Y494T4.2TG2D8R56U": rate("Quantity", "1234")
                    },
                    "sku": "SKU", "offerTermCode": "4NA7Y494T4",
                    "termAttributes": { "LeaseContractLength": "1yr", "PurchaseOption": "No Upfront" }
                } }
            },
            "version": "20261119", "publicationDate": "2026-11-19T00:00:00Z"
        })
        .to_string()
    }

    fn answer(products: &[String], next: Option<&str>) -> String {
        json!({ "FormatVersion": "aws_v1", "PriceList": products, "NextToken": next }).to_string()
    }

    fn price(products: &[String]) -> Option<f64> {
        let (aws, _, _) = client([status(200, &answer(products, None))]);
        linux_on_demand(&aws, "m5.large", "eu-west-1").unwrap()
    }

    #[test]
    fn what_is_asked_and_read() {
        let pages = [
            answer(
                &[product(
                    "0.0000000000",
                    &[("marketoption", "CapacityBlock")],
                )],
                Some("2"),
            ),
            answer(&[product("0.1070000000", &[])], None),
        ];
        let (aws, transport, _) = client(pages.map(|page| status(200, &page)));
        let usd = linux_on_demand(&aws, "m5.large", "eu-west-1").unwrap();
        assert_eq!(usd, Some(0.107));

        let request = &transport.requests()[0];
        assert_eq!(
            request.url,
            "https://api.pricing.eu-central-1.amazonaws.com/"
        );
        let header = |name: &str| {
            let found = request.headers.iter().find(|(n, _)| n == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        assert_eq!(header("x-amz-target"), "AWSPriceListService.GetProducts");
        assert_eq!(header("content-type"), "application/x-amz-json-1.1");
        let scope = "/eu-central-1/pricing/aws4_request";
        assert!(header("authorization").contains(scope), "{request:?}");

        let bodies: Vec<Value> = transport
            .bodies()
            .iter()
            .map(|body| serde_json::from_str(body).unwrap())
            .collect();
        let filter = |field: &str, value: &str| json!({ "Type": "TERM_MATCH", "Field": field, "Value": value });
        let first = json!({
            "ServiceCode": "AmazonEC2", "FormatVersion": "aws_v1", "MaxResults": 100,
            "Filters": [
                filter("instanceType", "m5.large"), filter("regionCode", "eu-west-1"),
                filter("operatingSystem", "Linux"), filter("tenancy", "Shared"),
                filter("preInstalledSw", "NA"), filter("capacitystatus", "Used"),
            ],
        });
        let mut second = first.clone();
        second["NextToken"] = json!("2");
        assert_eq!(bodies, [first, second]);
    }

    #[test]
    fn only_the_plain_machine_counts() {
        for change in [
            ("operatingSystem", "Windows"),
            ("tenancy", "Dedicated"),
            ("preInstalledSw", "SQL Std"),
            ("capacitystatus", "AllocatedCapacityReservation"),
            ("capacitystatus", ""),
            ("instanceType", "m5.xlarge"),
            ("regionCode", "eu-west-2"),
            ("regionCode", ""),
            ("marketoption", "CapacityBlock"),
            ("operation", "RunInstances:0004"),
        ] {
            let other = product("0.5550000000", &[change]);
            assert_eq!(price(std::slice::from_ref(&other)), None, "{change:?}");
            let both = [other, product("0.1070000000", &[])];
            assert_eq!(price(&both), Some(0.107), "{change:?}");
        }
        // Older parts of the list lack these.
        let plain = product("0.1070000000", &[("marketoption", ""), ("operation", "")]);
        assert_eq!(price(&[plain]), Some(0.107));
    }

    #[test]
    fn a_price_is_one_positive_number_of_dollars() {
        for (list, expected) in [
            (&[][..], None),
            (&["0.0000000000"], None),
            (&["-1.0"], None),
            (&["NaN"], None),
            (&["inf"], None),
            (&["cheap"], None),
            (&["0.0000000000", "0.1070000000"], Some(0.107)),
            (&["0.107", "0.1070000000"], Some(0.107)),
            (&["0.107", "0.108"], None),
        ] {
            let products: Vec<String> = list.iter().map(|usd| product(usd, &[])).collect();
            assert_eq!(price(&products), expected, "{list:?}");
        }
        let yuan = product("1", &[]).replace("\"USD\"", "\"CNY\"");
        assert_eq!(price(&[yuan]), None);
        let second = product("0.107", &[]).replace("\"Hrs\"", "\"Second\"");
        assert_eq!(price(&[second]), None);
    }

    #[test]
    fn failures_are_told_apart() {
        let denied = r#"{"__type":"AccessDeniedException","Message":"no pricing:GetProducts"}"#;
        for (answer, kind) in [
            (status(400, denied), ErrorKind::Denied),
            (
                status(200, &answer(&["not JSON".to_owned()], None)),
                ErrorKind::Malformed,
            ),
            (
                status(200, &answer(&["{}".to_owned()], None)),
                ErrorKind::Malformed,
            ),
            (status(200, "<html>"), ErrorKind::Malformed),
        ] {
            let (aws, _, _) = client([answer]);
            let error = linux_on_demand(&aws, "m5.large", "eu-west-1").unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
        }
        let (aws, _, _) = client([]);
        let china = aws.in_region("cn-north-1");
        let error = linux_on_demand(&china, "m5.large", "cn-north-1").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Validation, "nothing is sent");
    }

    #[test]
    fn nothing_for_sale_is_no_error() {
        let (aws, _, _) = client([status(200, r#"{"FormatVersion":"aws_v1"}"#)]);
        assert_eq!(
            linux_on_demand(&aws, "m5.large", "eu-west-1").unwrap(),
            None
        );
    }
}
