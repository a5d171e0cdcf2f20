//! Prices of machines: looked up, kept for a while, and never guessed.
//!
//! - An **on-demand** price is that of AWS's price list for Linux on shared hardware.
//! - A **spot** price is the highest of the newest prices in the zones that a machine of this launch
//!   may come from: what it costs there at most at present. It may rise.
//!
//! A price that cannot be had is unknown, which is no error: the caller may lack the permission
//! (`pricing:GetProducts`, `ec2:DescribeSpotPriceHistory`), the service may be out of reach, and
//! partitions other than `aws` have no price list that is asked. Prices are USD; partitions that
//! charge in another currency have unknown ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use spawn_aws::client::{AwsError, Client, EC2, PRICING, Patience, Service, partition};
use spawn_aws::services::ec2::{self, Filter, SpotPrice, SpotPriceQuery};
use spawn_aws::services::pricing;
use spawn_core::cost::{self, Cost};
use spawn_core::moment::UnixMicros;

use crate::facts::Facts;
use crate::plan::LaunchPlan;

mod cache;
#[cfg(test)]
mod tests;

pub use cache::{Cache, FILE};
use cache::{Entry, Key, Known};

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// AWS's price list: on demand.
    PriceList,
    /// The history of spot prices.
    SpotHistory,
}

/// What a machine costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// USD for one machine and hour.
    pub usd_per_hour: f64,
    /// Who says so.
    pub source: Source,
    /// When it was asked.
    pub as_of: UnixMicros,
}

/// Prices by type and whether it is spot capacity; `None` is unknown.
pub type Prices = BTreeMap<(String, bool), Option<Price>>;

/// A launch does not wait for prices: no lost answers are sat out.
const PATIENCE: Patience = Patience {
    attempts: 2,
    base: Duration::from_millis(100),
    throttle_base: Duration::from_millis(300),
    longest: Duration::from_millis(300),
    attempt: Duration::from_millis(2500),
    call: Duration::from_secs(3),
};
/// No call begins later than this. One that began takes no longer than [`PATIENCE`] says.
const BUDGET: Duration = Duration::from_secs(4);
/// Types in one question for spot prices.
const TYPES_A_CALL: usize = 100;
const LINUX: &str = "Linux/UNIX";

/// The types of a plan, each with whether it is spot capacity.
#[must_use]
pub fn wanted(plan: &LaunchPlan) -> Vec<(String, bool)> {
    let all = plan.lanes.iter().flat_map(|lane| {
        let types = lane.types.iter();
        types.map(|name| (name.clone(), lane.spot))
    });
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What the machines of a plan cost; its text is the end of a launch's first line.
///
/// A lane that may take several types counts with the dearest, a spot lane with no more than its
/// own limit.
#[must_use]
pub fn cost(plan: &LaunchPlan, prices: &Prices) -> Cost {
    let lanes: Vec<cost::Lane> = plan
        .lanes
        .iter()
        .map(|lane| {
            let price = |name: &String| {
                let found = prices.get(&(name.clone(), lane.spot)).copied().flatten();
                (name.clone(), found.map(|p| p.usd_per_hour))
            };
            cost::Lane {
                machines: lane.machines,
                types: lane.types.iter().map(price).collect(),
                moves: lane.spot,
                limit: lane.spot_max_price.filter(|_| lane.spot),
                ttl: Duration::from_micros(lane.ends.micros_since(plan.launched)),
            }
        })
        .collect();
    cost::of(&lanes)
}

/// The prices of `wanted`, types each with whether it is spot capacity, in the client's region.
/// `facts` say the account and the zones. Each of `wanted` is in the result; `None` is unknown.
///
/// What the cache has is not asked. New prices are written into the cache's file; a file that cannot
/// be written is left as it is. Takes seven seconds at most where nothing answers.
#[must_use]
pub fn look_up(
    client: &Client,
    facts: &Facts,
    cache: &mut Cache,
    wanted: &[(String, bool)],
    now: UnixMicros,
) -> Prices {
    let is_usd = partition(client.region()).is_ok_and(|p| matches!(p.name, "aws" | "aws-us-gov"));
    if !is_usd {
        return wanted.iter().map(|w| (w.clone(), None)).collect();
    }
    let asker = Asker {
        client: client.with_patience(PATIENCE),
        until: client.clock().monotonic() + BUDGET,
        account: &facts.account,
        now,
    };
    let mut missing = [BTreeSet::new(), BTreeSet::new()];
    for (name, spot) in wanted {
        let key = asker.key(name, *spot);
        if key.is_none_or(|key| cache.fresh(&key, now).is_none()) {
            missing[usize::from(*spot)].insert(name.as_str());
        }
    }
    let [on_demand, spot] = missing;
    let mut found = Vec::new();
    asker.spot(&spot, &mut found);
    asker.on_demand(&on_demand, &mut found);
    if !found.is_empty() {
        // Prices that are not kept are still prices.
        let _ = cache.keep(found, now);
    }
    wanted
        .iter()
        .map(|(name, spot)| {
            let key = asker.key(name, *spot);
            let entry = key.as_ref().and_then(|key| cache.fresh(key, now));
            (
                (name.clone(), *spot),
                entry.and_then(|e| price(e, facts, name)),
            )
        })
        .collect()
}

/// The price that an entry gives a launch.
fn price(entry: &Entry, facts: &Facts, name: &str) -> Option<Price> {
    let (usd_per_hour, source) = match &entry.known {
        Known::OnDemand(usd) => (*usd, Source::PriceList),
        Known::Spot(zones) => (dearest(zones, facts, name)?, Source::SpotHistory),
    };
    Some(Price {
        usd_per_hour,
        source,
        as_of: entry.as_of,
    })
}

/// The highest price over the zones that have a subnet and offer the type.
fn dearest(prices: &BTreeMap<String, f64>, facts: &Facts, name: &str) -> Option<f64> {
    let offered = facts.offered.get(name);
    let usable = facts.subnets.iter().map(|subnet| &subnet.zone);
    usable
        .filter(|zone| offered.is_none_or(|zones| zones.contains(*zone)))
        .filter_map(|zone| prices.get(zone).copied())
        .reduce(f64::max)
}

struct Asker<'a> {
    client: Client,
    until: Duration,
    account: &'a str,
    now: UnixMicros,
}

impl Asker<'_> {
    /// What a price is kept under; nothing where no one can be asked.
    fn key(&self, name: &str, spot: bool) -> Option<Key> {
        let service: &'static Service = if spot { &EC2 } else { &PRICING };
        let endpoint = self.client.endpoint(service).ok()?;
        Some(Key {
            endpoint: endpoint.url,
            // Each account has names of its own for the zones.
            account: if spot { self.account } else { "" }.to_owned(),
            region: self.client.region().to_owned(),
            instance_type: name.to_owned(),
            spot,
        })
    }

    fn entry(&self, name: &str, known: Known) -> Option<Entry> {
        let spot = matches!(known, Known::Spot(_));
        Some(Entry {
            key: self.key(name, spot)?,
            as_of: self.now,
            known,
        })
    }

    fn is_late(&self) -> bool {
        self.client.clock().monotonic() >= self.until
    }

    fn spot(&self, names: &BTreeSet<&str>, found: &mut Vec<Entry>) {
        let names: Vec<&str> = names.iter().copied().collect();
        for some in names.chunks(TYPES_A_CALL) {
            if self.is_late() {
                return;
            }
            let Ok(rows) = self.newest(some) else {
                return;
            };
            for (name, zones) in rows {
                // An answer may have more than was asked.
                if some.contains(&name.as_str()) {
                    found.extend(self.entry(&name, Known::Spot(zones)));
                }
            }
        }
    }

    fn newest(&self, names: &[&str]) -> Result<BTreeMap<String, BTreeMap<String, f64>>, AwsError> {
        let time = Timestamp::try_from(self.client.aws_now()).ok();
        let time = time.map(|t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let query = SpotPriceQuery {
            // A type that AWS does not know must not take the others' prices away.
            filters: vec![Filter::new("instance-type", names.iter().copied())],
            product_descriptions: vec![LINUX.to_owned()],
            start_time: time.clone(),
            end_time: time,
            ..SpotPriceQuery::default()
        };
        Ok(newest(&ec2::describe_spot_price_history(
            &self.client,
            &query,
        )?))
    }

    fn on_demand(&self, names: &BTreeSet<&str>, found: &mut Vec<Entry>) {
        for name in names {
            if self.is_late() {
                return;
            }
            match pricing::linux_on_demand(&self.client, name, self.client.region()) {
                Ok(Some(usd)) => found.extend(self.entry(name, Known::OnDemand(usd))),
                Ok(None) => {}
                // The next question would fail as this one did.
                Err(_) => return,
            }
        }
    }
}

/// The newest price by type and zone. A row that cannot be read leaves its zone without a price
/// rather than with an older one's.
fn newest(rows: &[SpotPrice]) -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut latest: BTreeMap<(&str, &str), (Timestamp, Option<f64>)> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.product_description == LINUX) {
        let Ok(time) = row.timestamp.parse::<Timestamp>() else {
            continue;
        };
        let usd = row.spot_price.parse().ok().filter(|usd| is_price(*usd));
        let place = (row.instance_type.as_str(), row.availability_zone.as_str());
        let kept = latest.entry(place).or_insert((time, usd));
        if time > kept.0 {
            *kept = (time, usd);
        }
    }
    let mut prices: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for ((name, zone), (_, usd)) in latest {
        let Some(usd) = usd else { continue };
        let zones = prices.entry(name.to_owned()).or_default();
        zones.insert(zone.to_owned(), usd);
    }
    prices
}

fn is_price(usd: f64) -> bool {
    usd.is_finite() && usd > 0.0
}
