//! What machines there are, where, and at what price.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Filter, describe, page};
use crate::client::{AwsError, Client, items};

/// A type of machine, as `DescribeInstanceTypes` says it. Sizes are MiB and GB as in their names.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InstanceType {
    /// `m7g.large`
    pub instance_type: String,
    /// Not one of past generations.
    pub current_generation: bool,
    /// No hypervisor.
    pub bare_metal: bool,
    /// CPU credits.
    pub burstable_performance_supported: bool,
    /// Can hibernate.
    pub hibernation_supported: bool,
    /// Has disks of its own.
    pub instance_storage_supported: bool,
    /// `on-demand`, `spot`
    #[serde(deserialize_with = "items")]
    pub supported_usage_classes: Vec<String>,
    /// Processors.
    pub processor_info: ProcessorInfo,
    /// Virtual CPUs.
    #[serde(rename = "vCpuInfo")]
    pub vcpu_info: VcpuInfo,
    /// Memory.
    pub memory_info: MemoryInfo,
    /// Disks of its own.
    pub instance_storage_info: Option<StorageInfo>,
    /// GPUs.
    pub gpu_info: Option<GpuInfo>,
    /// Network.
    pub network_info: NetworkInfo,
}

/// Processors.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProcessorInfo {
    /// `x86_64`, `arm64`, `i386`
    #[serde(deserialize_with = "items")]
    pub supported_architectures: Vec<String>,
}

/// Virtual CPUs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VcpuInfo {
    /// Threads.
    #[serde(rename = "defaultVCpus")]
    pub default_vcpus: u32,
    /// Cores.
    #[serde(rename = "defaultCores")]
    pub default_cores: Option<u32>,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MemoryInfo {
    /// MiB
    #[serde(rename = "sizeInMiB")]
    pub size_in_mib: u64,
}

/// Disks that come with the machine.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StorageInfo {
    /// GB
    #[serde(rename = "totalSizeInGB")]
    pub total_size_in_gb: u64,
}

/// GPUs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GpuInfo {
    /// Each model.
    #[serde(deserialize_with = "items")]
    pub gpus: Vec<Gpu>,
    /// Of all, MiB.
    #[serde(rename = "totalGpuMemoryInMiB")]
    pub total_gpu_memory_in_mib: u64,
}

/// A model of GPU.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gpu {
    /// `A10G`
    pub name: String,
    /// `NVIDIA`
    pub manufacturer: String,
    /// How many.
    pub count: u32,
    /// Memory of each.
    pub memory_info: MemoryInfo,
}

/// Network.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NetworkInfo {
    /// `Up to 12.5 Gigabit`
    pub network_performance: String,
}

/// `DescribeInstanceTypes`: the named ones (100 a call), or all that fit the filters.
/// [`crate::client::ErrorKind::Validation`]: `InvalidInstanceType`, one of them is not there.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_instance_types(
    client: &Client,
    names: &[&str],
    filters: &[Filter],
) -> Result<Vec<InstanceType>, AwsError> {
    page!(Types, "instanceTypeSet", InstanceType);
    let operation = "DescribeInstanceTypes";
    if names.is_empty() {
        let request = json!({ "Filter": filters, "MaxResults": 100 });
        return describe::<Types>(client, operation, &request);
    }
    let mut found = Vec::new();
    for names in names.chunks(100) {
        let request = json!({ "Filter": filters, "InstanceType": names });
        found.extend(describe::<Types>(client, operation, &request)?);
    }
    Ok(found)
}

/// A type of machine at a place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offering {
    /// `m7g.large`
    pub instance_type: String,
    /// The zone.
    pub location: String,
}

/// `DescribeInstanceTypeOfferings` by availability zone.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_instance_type_offerings(
    client: &Client,
    filters: &[Filter],
) -> Result<Vec<Offering>, AwsError> {
    page!(Offerings, "instanceTypeOfferingSet", Offering);
    let request =
        json!({ "Filter": filters, "LocationType": "availability-zone", "MaxResults": 1000 });
    describe::<Offerings>(client, "DescribeInstanceTypeOfferings", &request)
}

/// What `DescribeSpotPriceHistory` is asked. Both times equal: the prices of that time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SpotPriceQuery {
    /// These types. One that AWS does not know makes the call fail; a filter does not.
    #[serde(rename = "InstanceType")]
    pub instance_types: Vec<String>,
    /// Those that match all of these: `instance-type`, `availability-zone`.
    #[serde(rename = "Filter")]
    pub filters: Vec<Filter>,
    /// `Linux/UNIX`; `Linux/UNIX (Amazon VPC)` in accounts that have EC2-Classic.
    #[serde(rename = "ProductDescription")]
    pub product_descriptions: Vec<String>,
    /// One zone; all if not said.
    #[serde(rename = "AvailabilityZone")]
    pub availability_zone: Option<String>,
    /// From, RFC 3339.
    #[serde(rename = "StartTime")]
    pub start_time: Option<String>,
    /// To, RFC 3339.
    #[serde(rename = "EndTime")]
    pub end_time: Option<String>,
}

/// A price that held from a time on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpotPrice {
    /// `m7g.large`
    pub instance_type: String,
    /// `eu-west-1a`
    #[serde(default)]
    pub availability_zone: String,
    /// USD an hour, as AWS writes it.
    pub spot_price: String,
    /// RFC 3339.
    pub timestamp: String,
    /// `Linux/UNIX`
    #[serde(default)]
    pub product_description: String,
}

/// `DescribeSpotPriceHistory`, all pages.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_spot_price_history(
    client: &Client,
    query: &SpotPriceQuery,
) -> Result<Vec<SpotPrice>, AwsError> {
    page!(Prices, "spotPriceHistorySet", SpotPrice);
    describe::<Prices>(client, "DescribeSpotPriceHistory", query)
}

/// A region.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Region {
    /// `eu-west-1`
    pub region_name: String,
    /// `opt-in-not-required`, `opted-in`, `not-opted-in`
    #[serde(default)]
    pub opt_in_status: String,
}

/// `DescribeRegions`: those that the account may use, or all of the partition.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_regions(client: &Client, all: bool) -> Result<Vec<Region>, AwsError> {
    page!(Regions, "regionInfo", Region);
    describe::<Regions>(client, "DescribeRegions", &json!({ "AllRegions": all }))
}

/// A property of the account, such as `supported-platforms` or `default-vpc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountAttribute {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: Vec<String>,
}

/// `DescribeAccountAttributes`.
///
/// # Errors
/// See [`AwsError`].
pub fn describe_account_attributes(client: &Client) -> Result<Vec<AccountAttribute>, AwsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Attribute {
        attribute_name: String,
        #[serde(default, deserialize_with = "items")]
        attribute_value_set: Vec<Value>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Value {
        attribute_value: String,
    }
    page!(Attributes, "accountAttributeSet", Attribute);
    let found = describe::<Attributes>(client, "DescribeAccountAttributes", &json!({}))?;
    Ok(found
        .into_iter()
        .map(|a| AccountAttribute {
            name: a.attribute_name,
            values: a
                .attribute_value_set
                .into_iter()
                .map(|v| v.attribute_value)
                .collect(),
        })
        .collect())
}
