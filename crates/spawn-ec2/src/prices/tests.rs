//! Prices against services that answer, refuse, and keep silent.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::{Value, json};
use spawn_aws::client::{
    Clock, Config, HttpRequest, HttpResponse, Overrides, Transport, TransportError,
};
use spawn_aws::credentials::Credentials;

use super::*;
use crate::facts::SubnetFacts;
use crate::plan::{self, LanePlan};

const NOW: UnixMicros = UnixMicros(1_795_608_000_000_000);
const ACCOUNT: &str = "123456789012";

/// How a service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answers,
    Denies,
    /// Nothing arrives before the time is up.
    Silent,
    Breaks,
    /// Something that is no answer of AWS.
    Babbles,
}

/// The price list and EC2, behind the client's transport; time passes only by waiting for them.
#[derive(Debug)]
struct World {
    price_list: Mutex<Mood>,
    ec2: Mutex<Mood>,
    on_demand: BTreeMap<&'static str, &'static str>,
    /// Type, zone, USD, hour of the day.
    spot: Vec<(&'static str, &'static str, &'static str, u32)>,
    asked: Mutex<Vec<String>>,
    passed: Mutex<Duration>,
    /// What each answer takes.
    pace: Duration,
}

impl World {
    fn new() -> Self {
        Self {
            price_list: Mutex::new(Mood::Answers),
            ec2: Mutex::new(Mood::Answers),
            on_demand: [("m5.large", "0.1070000000"), ("c5.large", "0.0960000000")].into(),
            spot: vec![
                ("m5.large", "eu-west-1a", "0.041000", 3),
                ("m5.large", "eu-west-1a", "0.040000", 9),
                ("m5.large", "eu-west-1b", "0.043000", 8),
                ("m5.large", "eu-west-1b", "0.090000", 2),
                ("m5.large", "eu-west-1c", "0.080000", 8),
                ("c5.large", "eu-west-1a", "0.030000", 8),
            ],
            asked: Mutex::default(),
            passed: Mutex::default(),
            pace: Duration::from_millis(100),
        }
    }

    fn client(self: &Arc<Self>, region: &str) -> Client {
        Client::new(Config {
            region: region.to_owned(),
            credentials: Arc::new(Credentials::fixed("AKIDEXAMPLE", "SECRET")),
            endpoints: Overrides::default(),
            transport: Arc::clone(self) as _,
            clock: Arc::clone(self) as _,
            patience: Patience::default(),
        })
    }

    fn set(&self, price_list: Mood, ec2: Mood) {
        *self.price_list.lock().unwrap() = price_list;
        *self.ec2.lock().unwrap() = ec2;
    }

    /// What was asked since the last time, by the names of hosts.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn product(&self, request: &HttpRequest) -> String {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let filters = body["Filters"].as_array().unwrap();
        let attributes: BTreeMap<&str, &str> = filters
            .iter()
            .map(|f| (f["Field"].as_str().unwrap(), f["Value"].as_str().unwrap()))
            .collect();
        assert_eq!(attributes["regionCode"], "eu-west-1");
        let usd = self.on_demand.get(attributes["instanceType"]);
        let products: Vec<String> = usd
            .into_iter()
            .map(|usd| {
                let rate = json!({ "unit": "Hrs", "pricePerUnit": { "USD": usd } });
                json!({
                    "product": { "attributes": attributes },
                    "terms": { "OnDemand": { "S.T": { "priceDimensions": { "S.T.R": rate } } } }
                })
                .to_string()
            })
            .collect();
        json!({ "FormatVersion": "aws_v1", "PriceList": products }).to_string()
    }

    fn history(&self, request: &HttpRequest) -> String {
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        assert!(body.contains("Action=DescribeSpotPriceHistory"), "{body}");
        assert!(body.contains("ProductDescription.1=Linux%2FUNIX"), "{body}");
        assert!(body.contains("StartTime=2026-11-25T12"), "{body}");
        let rows: String = self
            .spot
            .iter()
            .filter(|row| body.contains(&format!("={}", row.0)))
            .map(|(name, zone, usd, hour)| {
                format!(
                    "<item><instanceType>{name}</instanceType><productDescription>Linux/UNIX</productDescription>\
                     <spotPrice>{usd}</spotPrice><timestamp>2026-11-25T{hour:02}:00:00.000Z</timestamp>\
                     <availabilityZone>{zone}</availabilityZone></item>"
                )
            })
            .collect();
        format!("<R><requestId>1</requestId><spotPriceHistorySet>{rows}</spotPriceHistorySet></R>")
    }
}

impl Transport for World {
    fn send(
        &self,
        request: &HttpRequest,
        timeout: Duration,
    ) -> Result<HttpResponse, TransportError> {
        let host = request.url.trim_start_matches("https://");
        let host = host.split('.').next().unwrap().to_owned();
        let is_ec2 = host == "ec2";
        self.asked.lock().unwrap().push(host);
        let mood = *if is_ec2 { &self.ec2 } else { &self.price_list }
            .lock()
            .unwrap();
        let took = if mood == Mood::Silent {
            timeout
        } else {
            self.pace
        };
        *self.passed.lock().unwrap() += took;
        let (status, body) = match (mood, is_ec2) {
            (Mood::Silent, _) => {
                return Err(TransportError {
                    maybe_executed: true,
                    permanent: false,
                    message: "no answer in time".to_owned(),
                });
            }
            (Mood::Answers, true) => (200, self.history(request)),
            (Mood::Answers, false) => (200, self.product(request)),
            (Mood::Denies, true) => (
                403,
                "<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors></Response>".to_owned(),
            ),
            (Mood::Denies, false) => (400, r#"{"__type":"AccessDeniedException"}"#.to_owned()),
            (Mood::Breaks, _) => (500, String::new()),
            (Mood::Babbles, _) => (200, "<html>Sign in to the network".to_owned()),
        };
        Ok(HttpResponse {
            status,
            headers: Vec::new(),
            body: body.into_bytes(),
        })
    }
}

impl Clock for World {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(NOW.0.cast_unsigned()) + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        *self.passed.lock().unwrap()
    }

    fn sleep(&self, time: Duration) {
        *self.passed.lock().unwrap() += time;
    }

    fn random(&self) -> u64 {
        u64::MAX
    }
}

fn facts(zones: &[&str]) -> Facts {
    let subnet = |zone: &&str| SubnetFacts {
        zone: (*zone).to_owned(),
        ..SubnetFacts::default()
    };
    Facts {
        account: ACCOUNT.to_owned(),
        subnets: zones.iter().map(subnet).collect(),
        ..Facts::default()
    }
}

fn both(name: &str) -> Vec<(String, bool)> {
    vec![(name.to_owned(), false), (name.to_owned(), true)]
}

/// The prices of a type, on demand and spot.
fn usd(prices: &Prices, name: &str) -> (Option<f64>, Option<f64>) {
    let of = |spot| prices[&(name.to_owned(), spot)].map(|p| p.usd_per_hour);
    (of(false), of(true))
}

struct Rig {
    world: Arc<World>,
    client: Client,
    home: tempfile::TempDir,
}

impl Rig {
    fn new(world: World) -> Self {
        let world = Arc::new(world);
        Self {
            client: world.client("eu-west-1"),
            world,
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// As a command does it that starts now.
    fn look_up(&self, zones: &[&str], wanted: &[(String, bool)], now: UnixMicros) -> Prices {
        let mut cache = Cache::in_directory(self.home.path());
        look_up(&self.client, &facts(zones), &mut cache, wanted, now)
    }
}

const AB: [&str; 2] = ["eu-west-1a", "eu-west-1b"];

#[test]
fn prices_are_asked_once_and_kept_for_their_time() {
    let rig = Rig::new(World::new());
    let prices = rig.look_up(&AB, &both("m5.large"), NOW);
    assert_eq!(rig.world.asked(), ["ec2", "api"]);
    assert_eq!(usd(&prices, "m5.large"), (Some(0.107), Some(0.043)));
    assert_eq!(
        prices[&("m5.large".to_owned(), false)],
        Some(Price {
            usd_per_hour: 0.107,
            source: Source::PriceList,
            as_of: NOW
        })
    );
    let spot = prices[&("m5.large".to_owned(), true)].unwrap();
    assert_eq!((spot.source, spot.as_of), (Source::SpotHistory, NOW));

    let soon = NOW.plus_millis(3_599_999);
    assert_eq!(rig.look_up(&AB, &both("m5.large"), soon), prices);
    assert!(rig.world.asked().is_empty(), "all of it was kept");
    let later = NOW.plus_millis(3_600_000);
    let again = rig.look_up(&AB, &both("m5.large"), later);
    assert_eq!(rig.world.asked(), ["ec2"], "spot prices age faster");
    assert_eq!(again[&("m5.large".to_owned(), true)].unwrap().as_of, later);
    rig.look_up(&AB, &both("c5.large"), later);
    assert_eq!(rig.world.asked(), ["ec2", "api"], "another type is asked");
}

#[test]
fn a_spot_price_is_the_dearest_of_usable_zones() {
    let rig = Rig::new(World::new());
    let spot = [("m5.large".to_owned(), true)];
    let all = ["eu-west-1a", "eu-west-1b", "eu-west-1c"];
    for (zones, usd) in [
        (&all[..1], Some(0.04)),
        (&all[..2], Some(0.043)),
        (&all, Some(0.08)),
        (&["eu-west-1d"], None),
        (&[], None),
    ] {
        let prices = rig.look_up(zones, &spot, NOW);
        assert_eq!(prices[&spot[0]].map(|p| p.usd_per_hour), usd, "{zones:?}");
    }
    assert_eq!(rig.world.asked(), ["ec2"], "all zones come in one answer");

    let mut facts = facts(&all);
    let offered = ["eu-west-1a", "eu-west-1b"].map(str::to_owned);
    facts.offered.insert("m5.large".to_owned(), offered.into());
    let mut cache = Cache::in_directory(rig.home.path());
    let prices = look_up(&rig.client, &facts, &mut cache, &spot, NOW);
    assert_eq!(prices[&spot[0]].unwrap().usd_per_hour, 0.043);
    // Zones have other names in another account.
    facts.account = "999999999999".to_owned();
    let _ = look_up(&rig.client, &facts, &mut cache, &spot, NOW);
    assert_eq!(rig.world.asked(), ["ec2"]);
}

#[test]
fn what_cannot_be_asked_is_unknown_and_soon() {
    for mood in [Mood::Denies, Mood::Silent, Mood::Breaks, Mood::Babbles] {
        let rig = Rig::new(World::new());
        let types = ["a1.large", "b1.large", "m5.large", "z1.large"];
        let wanted: Vec<_> = types.iter().flat_map(|name| both(name)).collect();

        rig.world.set(mood, mood);
        let prices = rig.look_up(&AB, &wanted, NOW);
        assert_eq!(prices.len(), wanted.len());
        assert!(prices.values().all(Option::is_none), "{mood:?}");
        let took = rig.world.monotonic();
        assert!(took <= Duration::from_secs(7), "{mood:?} took {took:?}");
        let asked = rig.world.asked().len();
        assert!(asked <= 4, "{mood:?}: asked {asked} times");

        // Either service alone gives what it knows, and nothing unknown was kept.
        rig.world.set(mood, Mood::Answers);
        let prices = rig.look_up(&AB, &wanted, NOW);
        assert_eq!(usd(&prices, "m5.large"), (None, Some(0.043)), "{mood:?}");
        rig.world.set(Mood::Answers, mood);
        let prices = rig.look_up(&AB, &wanted, NOW);
        assert_eq!(usd(&prices, "m5.large"), (Some(0.107), Some(0.043)));
        assert_eq!(usd(&prices, "z1.large"), (None, None));
    }
}

#[test]
fn a_slow_price_list_is_left_in_time() {
    let mut world = World::new();
    world.pace = Duration::from_millis(1500);
    let rig = Rig::new(world);
    let wanted: Vec<_> = (0..20)
        .map(|n| (format!("m{n:02}.large"), false))
        .chain(both("m5.large"))
        .chain(both("c5.large"))
        .collect();
    let prices = rig.look_up(&AB, &wanted, NOW);
    assert!(rig.world.monotonic() <= Duration::from_secs(7));
    assert_eq!(rig.world.asked(), ["ec2", "api", "api"]);
    assert_eq!(usd(&prices, "c5.large"), (Some(0.096), Some(0.03)));
    assert_eq!(usd(&prices, "m5.large"), (None, Some(0.043)));
    // The next launch goes on from there.
    let next = rig.look_up(&AB, &both("c5.large"), NOW);
    assert_eq!(usd(&next, "c5.large"), (Some(0.096), Some(0.03)));
}

#[test]
fn other_partitions_have_no_price_list_and_others_no_dollars() {
    let world = Arc::new(World::new());
    let home = tempfile::tempdir().unwrap();
    let mut cache = Cache::in_directory(home.path());
    for (region, asked) in [
        ("cn-north-1", &[][..]),
        ("eusc-de-east-1", &[]),
        ("us-gov-west-1", &["ec2"]),
    ] {
        let client = world.client(region);
        let zone = format!("{region}a");
        let prices = look_up(
            &client,
            &facts(&[&zone]),
            &mut cache,
            &both("m5.large"),
            NOW,
        );
        assert_eq!(usd(&prices, "m5.large"), (None, None), "{region}");
        assert_eq!(world.asked(), asked, "{region}");
    }
}

#[test]
fn the_newest_readable_price_of_each_zone() {
    let row = |zone: &str, usd: &str, time: &str, product: &str| SpotPrice {
        instance_type: "m5.large".to_owned(),
        availability_zone: zone.to_owned(),
        spot_price: usd.to_owned(),
        timestamp: time.to_owned(),
        product_description: product.to_owned(),
    };
    let rows = [
        row("a", "0.05", "2026-11-25T09:00:00.000Z", LINUX),
        row("a", "0.06", "2026-11-25T10:00:00Z", LINUX),
        row("a", "0.04", "2026-11-24T23:00:00+00:00", LINUX),
        row("a", "0.99", "2026-11-25T11:00:00Z", "Windows"),
        row("b", "0.05", "2026-11-25T09:00:00Z", LINUX),
        row("b", "cheap", "2026-11-25T10:00:00Z", LINUX),
        row("c", "0.0", "2026-11-25T10:00:00Z", LINUX),
        row("d", "0.05", "yesterday", LINUX),
    ];
    let expected = [("a".to_owned(), 0.06)].into();
    assert_eq!(newest(&rows), [("m5.large".to_owned(), expected)].into());
}

#[test]
fn a_plan_and_its_prices_make_a_cost() {
    let spec = plan::tests::spec(json!({}));
    let mut plan = plan::tests::with_request(&spec, &["#"], |request| {
        plan::plan(request, &plan::tests::facts()).unwrap()
    });
    let launched = plan.launched;
    let example = plan.lanes[0].clone();
    let lane = |machines, types: &[&str], spot, limit, hours: u64| LanePlan {
        machines,
        types: types.iter().map(|name| (*name).to_owned()).collect(),
        spot,
        spot_max_price: limit,
        ends: launched.plus_millis(hours * 3_600_000),
        ..example.clone()
    };
    let rig = Rig::new(World::new());
    let shown = |plan: &LaunchPlan| {
        let prices = rig.look_up(&AB, &wanted(plan), NOW);
        cost(plan, &prices).to_string()
    };

    plan.lanes = vec![
        lane(3, &["m5.large", "c5.large"], false, None, 4),
        lane(2, &["c5.large"], false, Some(0.01), 1),
    ];
    let types = [
        ("c5.large".to_owned(), false),
        ("m5.large".to_owned(), false),
    ];
    assert_eq!(wanted(&plan), types);
    assert_eq!(
        shown(&plan),
        "about $0.51 an hour, $1.48 at most until the TTL (machines only)"
    );
    plan.lanes = vec![lane(10, &["m5.large"], true, None, 24)];
    assert_eq!(
        shown(&plan),
        "about $0.43 an hour, $10.32 at most until the TTL at present spot prices (machines only)"
    );
    plan.lanes = vec![lane(10, &["m5.large"], true, Some(0.05), 24)];
    assert_eq!(
        shown(&plan),
        "about $0.43 an hour, $12.00 at most until the TTL (machines only)"
    );
    plan.lanes = vec![lane(1, &["x9.large"], true, None, 1)];
    assert_eq!(shown(&plan), "price unknown");
    assert_eq!(cost(&plan, &Prices::new()).to_string(), "price unknown");
}
