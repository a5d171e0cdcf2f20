//! EC2: what machines there are, templates, and instances.

mod catalog;
mod instances;
mod launch_data;
mod network;
mod templates;

pub use catalog::{
    AccountAttribute, InstanceType, Offering, Region, SpotPrice, SpotPriceQuery,
    describe_account_attributes, describe_instance_type_offerings, describe_instance_types,
    describe_regions, describe_spot_price_history,
};
pub use instances::{
    Instance, InstanceState, RunInstances, StateChange, TemplateReference, create_tags,
    describe_instances, describe_instances_by_id, run_instances, stop_instances,
    terminate_instances,
};
pub use launch_data::{
    BlockDevice, EbsVolume, InstanceProfile, LaunchData, MarketOptions, MetadataOptions,
    NetworkInterface, SpotOptions, TagSpecification,
};
pub use network::{
    Image, SecurityGroup, Subnet, Vpc, describe_images, describe_security_groups, describe_subnets,
    describe_vpcs,
};
pub use templates::{
    LaunchTemplate, create_launch_template, delete_launch_template, describe_launch_templates,
};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::client::{AwsError, Client, EC2, Lists, Safety, Service, query_call};
use crate::services::{pages, repeated};

const API: (&Service, &str, Lists) = (&EC2, "2016-11-15", Lists::Flat);

/// A filter of a list: any of the values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// As in the API reference: `tag:spawn:array`, `instance-state-name`.
    #[serde(rename = "Name")]
    pub name: String,
    /// Any of these; `*` and `?` are patterns.
    #[serde(rename = "Value")]
    pub values: Vec<String>,
}

impl Filter {
    /// A filter.
    pub fn new<V: Into<String>>(name: &str, values: impl IntoIterator<Item = V>) -> Self {
        Self {
            name: name.to_owned(),
            values: values.into_iter().map(Into::into).collect(),
        }
    }
}

/// A list in an answer, of any of the `Describe` operations: one set and a token.
pub(crate) trait Page: DeserializeOwned {
    /// What the list is of.
    type Item;
    /// Takes the answer apart.
    fn split(self) -> (Vec<Self::Item>, Option<String>);
}

macro_rules! page {
    ($name:ident, $set:literal, $item:ty) => {
        #[derive(serde::Deserialize)]
        struct $name {
            #[serde(rename = $set, default = "Vec::new", deserialize_with = "crate::client::items")]
            set: Vec<$item>,
            #[serde(rename = "nextToken")]
            next: Option<String>,
        }
        impl crate::services::ec2::Page for $name {
            type Item = $item;
            fn split(self) -> (Vec<$item>, Option<String>) {
                (self.set, self.next)
            }
        }
    };
}
pub(crate) use page;

/// All pages of a `Describe` operation.
fn describe<P: Page>(
    client: &Client,
    operation: &'static str,
    request: &impl Serialize,
) -> Result<Vec<P::Item>, AwsError> {
    let Ok(Value::Object(request)) = serde_json::to_value(request) else {
        unreachable!("requests are objects of plain data");
    };
    let mut found = Vec::new();
    pages(
        |token| {
            let mut request: Map<String, Value> = request.clone();
            request.extend(token.map(|t| ("NextToken".to_owned(), Value::String(t))));
            let (items, next) =
                query_call::<P>(client, API, operation, Safety::Read, &request)?.split();
            found.extend(items);
            Ok(next)
        },
        || repeated(&EC2, operation),
    )?;
    Ok(found)
}

/// `<return>true</return>`, or nothing of interest.
#[derive(Deserialize)]
struct Done {}
