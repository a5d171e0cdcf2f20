//! The services, and where they are.

use crate::client::error::{AwsError, ErrorKind};
use crate::environment::Environment;

/// A service of AWS.
#[derive(Debug, PartialEq)]
pub struct Service {
    /// As AWS writes it, for messages.
    pub name: &'static str,
    /// As in `AWS_ENDPOINT_URL_<...>`; in lower case also as in a `[services]` section.
    pub variable: &'static str,
    /// The first label of its host.
    pub host: &'static str,
    /// Its name in signatures.
    pub signing: &'static str,
    /// How many addresses it has.
    pub reach: Reach,
    /// Changing calls a second that are no more than AWS gives every account, with the burst.
    /// None: as fast as the caller, until AWS says otherwise.
    pub pace: Option<(f64, f64)>,
}

/// Where a service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In every region, for that region.
    Region,
    /// At one address for a whole partition.
    Partition,
    /// In these regions only, each for all regions of the partition `aws`; other partitions have none.
    Few(&'static [&'static str]),
}

macro_rules! services {
    ($($(#[$doc:meta])* $id:ident: $name:literal, $variable:literal, $host:literal, $signing:literal, $reach:expr, $pace:expr;)*) => {
        $($(#[$doc])* pub static $id: Service = Service {
            name: $name, variable: $variable, host: $host, signing: $signing,
            reach: $reach, pace: $pace,
        };)*
    };
}

services! {
    /// Machines. Changing calls: the bucket of `RunInstances`, the smallest (5 at once, 2 a second).
    EC2: "EC2", "EC2", "ec2", "ec2", Reach::Region, Some((2.0, 5.0));
    /// Groups of machines.
    AUTO_SCALING: "Auto Scaling", "AUTO_SCALING", "autoscaling", "autoscaling", Reach::Region, Some((10.0, 20.0));
    /// Roles and policies.
    IAM: "IAM", "IAM", "iam", "iam", Reach::Partition, Some((5.0, 15.0));
    /// Who is calling, and assumed roles.
    STS: "STS", "STS", "sts", "sts", Reach::Region, None;
    /// Parameters, the ids of images among them.
    SSM: "SSM", "SSM", "ssm", "ssm", Reach::Region, Some((3.0, 10.0));
    /// Limits of the account.
    SERVICE_QUOTAS: "Service Quotas", "SERVICE_QUOTAS", "servicequotas", "servicequotas", Reach::Region, Some((3.0, 10.0));
    /// One-time calls at a set time.
    SCHEDULER: "EventBridge Scheduler", "SCHEDULER", "scheduler", "scheduler", Reach::Region, Some((50.0, 50.0));
    /// Tables.
    DYNAMODB: "DynamoDB", "DYNAMODB", "dynamodb", "dynamodb", Reach::Region, None;
    /// Objects.
    S3: "S3", "S3", "s3", "s3", Reach::Region, None;
    /// The price list. It tells the prices of every region in three of them.
    PRICING: "Price List", "PRICING", "api.pricing", "pricing", Reach::Few(&["us-east-1", "ap-south-1", "eu-central-1"]), None;
}

/// Where a service is, and the region its signatures are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme, host and port (and a path, if an override has one), no slash at the end.
    pub url: String,
    /// The region in signatures.
    pub signing_region: String,
    /// Not AWS's own address but one the user named. Buckets then go into the path.
    pub overridden: bool,
}

impl Endpoint {
    /// Whether this is AWS, by its own address or by a named one.
    #[must_use]
    pub fn is_aws(&self) -> bool {
        let host = self.url.split("://").nth(1).unwrap_or(&self.url);
        let host = host
            .split(['/', ':'])
            .next()
            .unwrap_or(host)
            .to_ascii_lowercase();
        !self.overridden
            || [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"]
                .iter()
                .any(|end| host.ends_with(end))
    }
}

/// A partition: AWS's worlds share nothing with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// As in ARNs: `aws`, `aws-us-gov`, `aws-cn`.
    pub name: &'static str,
    /// The end of its host names.
    pub suffix: &'static str,
    /// The region that its global services sign for.
    pub home: &'static str,
}

/// The partition of a region.
///
/// # Errors
/// The name is no region's, or one of a partition that this client does not know.
pub fn partition(region: &str) -> Result<Partition, String> {
    let shape = region.split('-').count() >= 3
        && region.ends_with(|c: char| c.is_ascii_digit())
        && region
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !shape {
        return Err(format!("`{region}` is not the name of a region"));
    }
    if region.starts_with("cn-") {
        return Ok(Partition {
            name: "aws-cn",
            suffix: "amazonaws.com.cn",
            home: "cn-north-1",
        });
    }
    if region.starts_with("us-gov-") {
        return Ok(Partition {
            name: "aws-us-gov",
            suffix: "amazonaws.com",
            home: "us-gov-west-1",
        });
    }
    if region.starts_with("us-iso") || region.starts_with("eu-iso") || region.starts_with("eusc-") {
        return Err(format!(
            "region `{region}` is of a partition whose addresses are not known here; name them with AWS_ENDPOINT_URL"
        ));
    }
    Ok(Partition {
        name: "aws",
        suffix: "amazonaws.com",
        home: "us-east-1",
    })
}

/// The addresses that the user named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    all: Option<String>,
    services: Vec<(String, String)>,
}

impl Overrides {
    /// What `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_ENDPOINT_URL` and the profile's `services` and
    /// `endpoint_url` say, in this order; nothing if `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` is true.
    #[must_use]
    pub fn from_environment(
        environment: &Environment,
        profile: &crate::credentials::Profiles,
    ) -> Self {
        let ignored = environment
            .var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .is_some_and(|v| v.eq_ignore_ascii_case("true"));
        if ignored {
            return Self::default();
        }
        let name = profile.selected();
        let section = profile.value(name, "services");
        let global = environment.var("AWS_ENDPOINT_URL");
        let services = [
            &EC2,
            &AUTO_SCALING,
            &IAM,
            &STS,
            &SSM,
            &SERVICE_QUOTAS,
            &SCHEDULER,
            &DYNAMODB,
            &S3,
            &PRICING,
        ]
        .into_iter()
        .filter_map(|service| {
            let own = environment.var(&format!("AWS_ENDPOINT_URL_{}", service.variable));
            let url = own.or_else(|| {
                // The environment's common address comes before anything in files.
                global.is_none().then_some(())?;
                profile.service_value(section?, &service.variable.to_lowercase(), "endpoint_url")
            })?;
            Some((service.variable.to_owned(), trimmed(url)))
        })
        .collect();
        Self {
            all: global
                .or_else(|| profile.value(name, "endpoint_url"))
                .map(trimmed),
            services,
        }
    }

    /// Every service at one address.
    #[must_use]
    pub fn everything_at(url: &str) -> Self {
        Self {
            all: Some(trimmed(url)),
            services: Vec::new(),
        }
    }

    /// One service at another address.
    #[must_use]
    pub fn with(mut self, service: &Service, url: &str) -> Self {
        self.services
            .retain(|(variable, _)| variable != service.variable);
        self.services
            .push((service.variable.to_owned(), trimmed(url)));
        self
    }

    /// Where `service` is in `region`.
    ///
    /// # Errors
    /// The region is unknown and the service is not overridden.
    pub fn resolve(
        &self,
        service: &'static Service,
        region: &str,
        operation: &'static str,
    ) -> Result<Endpoint, AwsError> {
        let named = self
            .services
            .iter()
            .find(|(variable, _)| variable == service.variable)
            .map(|(_, url)| url)
            .or(self.all.as_ref());
        let partition = partition(region);
        let nearest = match (service.reach, &partition) {
            (Reach::Few(regions), Ok(partition)) if partition.name == "aws" => {
                nearest(regions, region)
            }
            _ => None,
        };
        let signing_region = match (&partition, service.reach) {
            (Ok(partition), Reach::Partition) => partition.home,
            _ => nearest.unwrap_or(region),
        };
        if let Some(url) = named {
            return Ok(Endpoint {
                url: url.clone(),
                signing_region: signing_region.to_owned(),
                overridden: true,
            });
        }
        let partition = partition.as_ref().map_err(|m| {
            AwsError::new(service.name, operation, ErrorKind::Validation, m.clone())
        })?;
        let host = service.host;
        let suffix = partition.suffix;
        let host = match (service.reach, partition.name) {
            (Reach::Partition, "aws") => format!("{host}.{suffix}"),
            (Reach::Partition, "aws-us-gov") => format!("{host}.us-gov.{suffix}"),
            (Reach::Partition, _) => format!("{host}.{}.{suffix}", partition.home),
            (Reach::Region, _) => format!("{host}.{region}.{suffix}"),
            (Reach::Few(_), _) => {
                let place = nearest.ok_or_else(|| {
                    let message = format!("the service has no address for region `{region}`");
                    AwsError::new(service.name, operation, ErrorKind::Validation, message)
                })?;
                format!("{host}.{place}.{suffix}")
            }
        };
        Ok(Endpoint {
            url: format!("https://{host}"),
            signing_region: signing_region.to_owned(),
            overridden: false,
        })
    }
}

/// The one of `regions` on the same side of the world as `region`, else the first.
fn nearest(regions: &[&'static str], region: &str) -> Option<&'static str> {
    let side = |name: &str| match name.split('-').next().unwrap_or_default() {
        "eu" | "il" | "me" | "af" => "eu",
        "ap" => "ap",
        _ => "us",
    };
    let same = regions.iter().find(|r| side(r) == side(region));
    same.or(regions.first()).copied()
}

fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Profiles;

    fn url(service: &'static Service, region: &str) -> (String, String) {
        let endpoint = Overrides::default().resolve(service, region, "X").unwrap();
        (endpoint.url, endpoint.signing_region)
    }

    #[test]
    fn addresses_by_partition() {
        for (service, region, expected, signing) in [
            (
                &EC2,
                "eu-west-1",
                "https://ec2.eu-west-1.amazonaws.com",
                "eu-west-1",
            ),
            (
                &S3,
                "us-east-1",
                "https://s3.us-east-1.amazonaws.com",
                "us-east-1",
            ),
            (&IAM, "eu-west-1", "https://iam.amazonaws.com", "us-east-1"),
            (
                &IAM,
                "us-gov-east-1",
                "https://iam.us-gov.amazonaws.com",
                "us-gov-west-1",
            ),
            (
                &IAM,
                "cn-northwest-1",
                "https://iam.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
            ),
            (
                &STS,
                "cn-north-1",
                "https://sts.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
            ),
            (
                &AUTO_SCALING,
                "us-gov-west-1",
                "https://autoscaling.us-gov-west-1.amazonaws.com",
                "us-gov-west-1",
            ),
        ] {
            assert_eq!(url(service, region), (expected.into(), signing.into()));
        }
        for region in [
            "",
            "here",
            "us-iso-east-1",
            "evil.com/x-1-1",
            "us-east-1.evil.com",
        ] {
            assert!(
                Overrides::default().resolve(&EC2, region, "X").is_err(),
                "{region}"
            );
        }
    }

    #[test]
    fn the_price_list_has_few_addresses() {
        for (region, place) in [
            ("us-east-1", "us-east-1"),
            ("us-west-2", "us-east-1"),
            ("ca-central-1", "us-east-1"),
            ("sa-east-1", "us-east-1"),
            ("mx-central-1", "us-east-1"),
            ("eu-west-1", "eu-central-1"),
            ("eu-central-1", "eu-central-1"),
            ("af-south-1", "eu-central-1"),
            ("il-central-1", "eu-central-1"),
            ("ap-southeast-2", "ap-south-1"),
        ] {
            let expected = format!("https://api.pricing.{place}.amazonaws.com");
            assert_eq!(url(&PRICING, region), (expected, place.into()), "{region}");
        }
        for region in ["cn-north-1", "us-gov-west-1"] {
            let error = Overrides::default().resolve(&PRICING, region, "GetProducts");
            let error = error.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Validation);
            assert_eq!(
                error.to_string(),
                format!("Price List GetProducts: the service has no address for region `{region}`")
            );
            // Who names an address knows why.
            let named = Overrides::everything_at("http://127.0.0.1:1");
            let named = named.resolve(&PRICING, region, "GetProducts").unwrap();
            assert_eq!(named.signing_region, region);
        }
        let named = Overrides::default().with(&PRICING, "http://127.0.0.1:1/");
        let named = named.resolve(&PRICING, "eu-west-1", "GetProducts").unwrap();
        assert_eq!(
            (named.url.as_str(), named.signing_region.as_str()),
            ("http://127.0.0.1:1", "eu-central-1")
        );
    }

    #[test]
    fn named_addresses_in_order() {
        let environment = Environment::of([
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566/"),
            ("AWS_ENDPOINT_URL_AUTO_SCALING", "http://127.0.0.1:1"),
            ("AWS_ENDPOINT_URL_PRICING", "http://127.0.0.1:2"),
        ]);
        let profiles = Profiles::parse(
            "[default]\nendpoint_url = http://file\nservices = mine\n[services mine]\ns3 =\n  endpoint_url = http://s3file\n",
            "",
            "default",
        );
        let both = Overrides::from_environment(&environment, &profiles);
        let at = |o: &Overrides, s| o.resolve(s, "us-east-1", "X").unwrap().url;
        assert_eq!(at(&both, &AUTO_SCALING), "http://127.0.0.1:1");
        assert_eq!(at(&both, &PRICING), "http://127.0.0.1:2");
        assert_eq!(at(&both, &S3), "http://127.0.0.1:4566");
        let file = Overrides::from_environment(&Environment::default(), &profiles);
        assert_eq!(at(&file, &S3), "http://s3file");
        assert_eq!(at(&file, &EC2), "http://file");
        let off = Environment::of([
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566/"),
            ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
        ]);
        let off = Overrides::from_environment(&off, &profiles);
        assert_eq!(at(&off, &S3), "https://s3.us-east-1.amazonaws.com");
    }

    #[test]
    fn aws_is_known_by_its_name_too() {
        let named = |url: &str| {
            Overrides::everything_at(url)
                .resolve(&EC2, "us-east-1", "X")
                .unwrap()
        };
        assert!(named("https://ec2.us-east-1.amazonaws.com").is_aws());
        assert!(named("https://EC2.cn-north-1.amazonaws.com.cn:443/").is_aws());
        assert!(!named("http://127.0.0.1:4566").is_aws());
        assert!(!named("http://amazonaws.com.example").is_aws());
    }
}
