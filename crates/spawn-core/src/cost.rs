//! What an array's machines cost: arithmetic over prices that somebody looked up.
//!
//! Prices are USD for one machine and hour. Nothing here is guessed: one unknown price makes the
//! whole cost unknown. Disks, addresses and traffic are not counted, which the words say.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// AWS counts seconds, and at least this long for each machine.
const SHORTEST_BILL: Duration = Duration::from_secs(60);
/// USD an hour. No machine costs more; a larger number is a mistake and no price.
const DEAREST: f64 = 1e6;
/// How many types are named; the others are counted.
const NAMED: usize = 3;

/// Machines of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// How many.
    pub machines: u32,
    /// The types that they may be of, each with its price; `None` is unknown.
    pub types: Vec<(String, Option<f64>)>,
    /// The prices may rise while the machines run, as those of spot capacity do.
    pub moves: bool,
    /// Machines run only while they cost no more than this, USD an hour.
    pub limit: Option<f64>,
    /// How long they run at most.
    pub ttl: Duration,
}

/// What lanes cost together.
#[derive(Debug, Clone, PartialEq)]
pub enum Cost {
    /// All prices are known.
    Known {
        /// USD an hour while all machines run, each of the dearest type that its lane may take.
        usd_per_hour: f64,
        /// USD if all machines run until their TTL.
        usd_at_most: f64,
        /// `usd_at_most` holds only while prices stay as they are: a lane's may rise without limit.
        moves: bool,
    },
    /// A price is unknown.
    Unknown {
        /// The types without a price.
        types: BTreeSet<String>,
        /// Other types of the same launch have one.
        is_partial: bool,
    },
}

/// What `lanes` cost together.
pub fn of(lanes: &[Lane]) -> Cost {
    let prices = || lanes.iter().flat_map(|lane| &lane.types);
    let types: BTreeSet<String> = prices()
        .filter(|(_, price)| !price.is_some_and(is_price))
        .map(|(name, _)| name.clone())
        .collect();
    // Machines of no type have no price either.
    if !types.is_empty() || lanes.iter().any(|lane| lane.types.is_empty()) {
        let is_partial = prices().any(|(_, price)| price.is_some_and(is_price));
        return Cost::Unknown { types, is_partial };
    }
    let (mut usd_per_hour, mut usd_at_most, mut moves) = (0.0, 0.0, false);
    for lane in lanes {
        let dearest = lane.types.iter().filter_map(|t| t.1).fold(0.0, f64::max);
        let limit = lane.limit.filter(|limit| is_price(*limit));
        let now = limit.map_or(dearest, |limit| dearest.min(limit));
        let later = limit.filter(|_| lane.moves).unwrap_or(now);
        let machines = f64::from(lane.machines);
        let hours = lane.ttl.max(SHORTEST_BILL).as_secs_f64() / 3600.0;
        usd_per_hour += machines * now;
        usd_at_most += machines * later * hours;
        moves |= lane.moves && limit.is_none();
    }
    Cost::Known {
        usd_per_hour,
        usd_at_most,
        moves,
    }
}

fn is_price(usd: f64) -> bool {
    (0.0..=DEAREST).contains(&usd)
}

/// As the end of a launch's first line: `about $0.27 an hour, $1.08 at most until the TTL (machines
/// only)`, `price unknown`.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cost::Known {
                usd_per_hour,
                usd_at_most,
                moves,
            } => {
                let now = if *moves {
                    " at present spot prices"
                } else {
                    ""
                };
                write!(
                    f,
                    "about {} an hour, {} at most until the TTL{now} (machines only)",
                    usd(*usd_per_hour),
                    usd_rounded_up(*usd_at_most)
                )
            }
            Cost::Unknown { types, is_partial } => {
                f.write_str("price unknown")?;
                // Where nothing has a price, the line says the types already.
                if !is_partial || types.is_empty() {
                    return Ok(());
                }
                let named: Vec<&str> = types.iter().take(NAMED).map(String::as_str).collect();
                write!(f, " (none for {}", named.join(", "))?;
                match types.len().saturating_sub(NAMED) {
                    0 => f.write_str(")"),
                    more => write!(f, " and {more} more)"),
                }
            }
        }
    }
}

/// An amount of USD as people read it: `$12.40`, from $1,000 on without cents, and below ten cents
/// three digits that count: `$0.0893`.
pub fn usd(amount: f64) -> String {
    if amount >= 999.995 {
        return whole_dollars(amount.round());
    }
    if amount <= 0.0 {
        return "$0.00".to_owned();
    }
    let decimals = (2.0 - amount.log10().floor()).clamp(2.0, 6.0) as usize;
    let decimals = if amount >= 0.1 { 2 } else { decimals };
    let mut text = format!("${amount:.decimals$}");
    let shortest = text.find('.').map_or(text.len(), |dot| dot + 3);
    while text.len() > shortest && text.ends_with('0') {
        text.pop();
    }
    text
}

/// An amount of USD that is not exceeded: in cents, from $1,000 on in dollars, rounded up.
pub fn usd_rounded_up(amount: f64) -> String {
    // What arithmetic adds behind the twelfth digit is no cent.
    let up = |number: f64| (number - number.abs() * 1e-12).ceil().max(0.0);
    let cents = up(amount * 100.0);
    if cents >= 100_000.0 {
        whole_dollars(up(amount))
    } else {
        format!("${:.2}", cents / 100.0)
    }
}

fn whole_dollars(amount: f64) -> String {
    let digits = format!("{amount:.0}");
    let mut text = "$".to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn lane(machines: u32, types: &[(&str, Option<f64>)], hours: u32) -> Lane {
        let types = types.iter().map(|(name, usd)| ((*name).to_owned(), *usd));
        Lane {
            machines,
            types: types.collect(),
            moves: false,
            limit: None,
            ttl: HOUR * hours,
        }
    }

    fn known(cost: &Cost) -> (f64, f64, bool) {
        match cost {
            Cost::Known {
                usd_per_hour,
                usd_at_most,
                moves,
            } => (*usd_per_hour, *usd_at_most, *moves),
            Cost::Unknown { .. } => panic!("{cost:?}"),
        }
    }

    fn close(got: f64, wanted: f64) {
        assert!((got - wanted).abs() < 1e-9, "{got} is not {wanted}");
    }

    #[test]
    fn lanes_add_up() {
        let lanes = [
            lane(3, &[("c7i.large", Some(0.0893))], 4),
            lane(2, &[("m5.large", Some(0.096))], 1),
        ];
        let (hourly, most, moves) = known(&of(&lanes));
        close(hourly, 3.0 * 0.0893 + 2.0 * 0.096);
        close(most, 12.0 * 0.0893 + 2.0 * 0.096);
        assert!(!moves);
        assert_eq!(known(&of(&[])), (0.0, 0.0, false));
    }

    #[test]
    fn the_dearest_type_counts() {
        let types = [
            ("a1.large", Some(0.05)),
            ("c5.large", Some(0.085)),
            ("t3.large", Some(0.08)),
        ];
        let (hourly, most, _) = known(&of(&[lane(10, &types, 2)]));
        close(hourly, 0.85);
        close(most, 1.7);
    }

    #[test]
    fn a_minute_is_paid_at_least() {
        for (seconds, minutes) in [(1, 1.0), (59, 1.0), (60, 1.0), (90, 1.5)] {
            let mut short = lane(1, &[("c5.large", Some(0.6))], 1);
            short.ttl = Duration::from_secs(seconds);
            close(known(&of(&[short])).1, 0.01 * minutes);
        }
    }

    #[test]
    fn limits_bind_what_moves() {
        for (moves, limit, hourly, most, open) in [
            (false, None, 0.1, 0.2, false),
            (true, None, 0.1, 0.2, true),
            (true, Some(0.3), 0.1, 0.6, false),
            (true, Some(0.04), 0.04, 0.08, false),
            (false, Some(0.3), 0.1, 0.2, false),
            (true, Some(f64::NAN), 0.1, 0.2, true),
        ] {
            let lane = Lane {
                moves,
                limit,
                ..lane(1, &[("c5.large", Some(0.1))], 2)
            };
            let got = known(&of(&[lane]));
            close(got.0, hourly);
            close(got.1, most);
            assert_eq!(got.2, open);
        }
    }

    #[test]
    fn one_unknown_price_makes_all_unknown() {
        let cost = of(&[
            lane(1, &[("m5.large", Some(0.1)), ("x9.large", None)], 1),
            lane(1, &[("b2.large", None), ("x9.large", None)], 1),
        ]);
        let types = ["b2.large", "x9.large"].map(str::to_owned).into();
        let is_partial = true;
        assert_eq!(cost, Cost::Unknown { types, is_partial });
        assert_eq!(
            cost.to_string(),
            "price unknown (none for b2.large, x9.large)"
        );
        for no_price in [-0.01, f64::NAN, f64::INFINITY, 1e7] {
            let cost = of(&[lane(1, &[("m5.large", Some(no_price))], 1)]);
            assert!(matches!(cost, Cost::Unknown { .. }), "{no_price}");
        }
        let nothing = of(&[lane(1, &[], 1)]);
        assert_eq!(nothing.to_string(), "price unknown");
    }

    #[test]
    fn how_it_reads() {
        let one = |price, moves| {
            of(&[Lane {
                moves,
                ..lane(3, &[("c7i.large", price)], 4)
            }])
            .to_string()
        };
        assert_eq!(
            one(Some(0.0893), false),
            "about $0.27 an hour, $1.08 at most until the TTL (machines only)"
        );
        assert_eq!(
            one(Some(0.0893), true),
            "about $0.27 an hour, $1.08 at most until the TTL at present spot prices (machines only)"
        );
        assert_eq!(one(None, false), "price unknown");
        let names = ["a1.large", "b1.large", "c1.large", "d1.large", "e1.large"];
        let mut types = names.map(|name| (name, None)).to_vec();
        types.push(("m5.large", Some(1.0)));
        assert_eq!(
            of(&[lane(1, &types, 1)]).to_string(),
            "price unknown (none for a1.large, b1.large, c1.large and 2 more)"
        );
    }

    #[test]
    fn amounts() {
        for (amount, shown, rounded_up) in [
            (0.0, "$0.00", "$0.00"),
            (-1.0, "$0.00", "$0.00"),
            (0.000_000_01, "$0.00", "$0.01"),
            (0.000_217, "$0.000217", "$0.01"),
            (0.0013, "$0.0013", "$0.01"),
            (0.0104, "$0.0104", "$0.02"),
            (0.02, "$0.02", "$0.02"),
            (0.0893, "$0.0893", "$0.09"),
            (0.089_349, "$0.0893", "$0.09"),
            (0.099_96, "$0.10", "$0.10"),
            (0.1, "$0.10", "$0.10"),
            (0.2679, "$0.27", "$0.27"),
            (1.07, "$1.07", "$1.07"),
            (1.070_000_1, "$1.07", "$1.08"),
            (0.1 + 0.2, "$0.30", "$0.30"),
            (12.4, "$12.40", "$12.40"),
            (999.99, "$999.99", "$999.99"),
            (999.999, "$1,000", "$1,000"),
            (1234.5, "$1,235", "$1,235"),
            (1234.01, "$1,234", "$1,235"),
            (1_234_567.0, "$1,234,567", "$1,234,567"),
            (100_000.0, "$100,000", "$100,000"),
        ] {
            assert_eq!(usd(amount), shown, "{amount}");
            assert_eq!(usd_rounded_up(amount), rounded_up, "{amount}");
        }
    }

    fn any_lane() -> impl Strategy<Value = Lane> {
        let price = 0.0..40.0_f64;
        let types = prop::collection::vec(("[a-c]5.large", price.clone().prop_map(Some)), 1..4);
        let limit = prop::option::of(price);
        (0..2000_u32, types, any::<bool>(), limit, 1..500_u32).prop_map(
            |(machines, types, moves, limit, hours)| Lane {
                machines,
                types,
                moves,
                limit,
                ttl: HOUR * hours,
            },
        )
    }

    /// What is read back of a shown amount.
    fn read(text: &str) -> f64 {
        text.replace(['$', ','], "").parse().unwrap()
    }

    proptest! {
        #[test]
        fn more_never_costs_less(
            lanes in prop::collection::vec(any_lane(), 1..5),
            at in any::<prop::sample::Index>(),
            extra in any_lane(),
            (machines, minutes, dearer) in (0..10_u32, 0..600_u32, 0.0..10.0_f64),
        ) {
            let before = known(&of(&lanes));
            let mut more = lanes.clone();
            more.push(extra);
            let lane = at.get_mut(&mut more[..lanes.len()]);
            lane.machines += machines;
            lane.ttl += Duration::from_secs(60) * minutes;
            for price in lane.types.iter_mut().filter_map(|t| t.1.as_mut()) {
                *price += dearer;
            }
            lane.limit = lane.limit.map(|limit| limit + dearer);
            let after = known(&of(&more));
            prop_assert!(after.0 >= before.0 && after.1 >= before.1 && after.2 >= before.2);
        }

        #[test]
        fn unknown_absorbs(
            mut lanes in prop::collection::vec(any_lane(), 0..5),
            mut unknown in any_lane(),
            at in any::<prop::sample::Index>(),
            place in any::<prop::sample::Index>(),
        ) {
            at.get_mut(&mut unknown.types).1 = None;
            lanes.insert(place.index(lanes.len() + 1), unknown);
            let cost = of(&lanes);
            let is_unknown = matches!(cost, Cost::Unknown { .. });
            prop_assert!(is_unknown);
            prop_assert!(cost.to_string().starts_with("price unknown"));
        }

        #[test]
        fn shown_amounts_are_near_and_limits_hold(amount in 0.0..1e7_f64) {
            let near = (read(&usd(amount)) - amount).abs();
            prop_assert!(near <= (amount * 0.06).min(0.5) + 1e-6);
            let limit = read(&usd_rounded_up(amount));
            prop_assert!(limit >= amount * (1.0 - 1e-11));
            let step = if amount < 999.0 { 0.0101 } else { 1.0 };
            prop_assert!(limit - amount <= step);
        }
    }
}
