use proptest::prelude::*;

use super::*;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// An array of the simulated machine: when it is launched, how many tasks, how long each takes.
#[derive(Debug, Clone)]
struct Load {
    at: u64,
    tasks: u64,
    takes: u64,
}

/// A machine in virtual time, in milliseconds, with agents that ask between tasks.
struct Machine {
    cores: u32,
    loads: Vec<Load>,
    pending: Vec<u64>,
    /// Which array, and when its task ends.
    slots: Vec<(usize, u64)>,
    sharing: Sharing<usize>,
    first_start: Vec<Option<u64>>,
    served: Vec<u64>,
}

impl Machine {
    fn new(cores: u32, loads: Vec<Load>) -> Machine {
        Machine {
            cores,
            pending: loads.iter().map(|l| l.tasks).collect(),
            first_start: vec![None; loads.len()],
            served: vec![0; loads.len()],
            slots: Vec::new(),
            sharing: Sharing::new(),
            loads,
        }
    }

    fn slots_of(&self, array: usize) -> u32 {
        self.slots.iter().filter(|(a, _)| *a == array).count() as u32
    }

    fn observe(&mut self, now: u64) {
        let demands: Vec<(usize, Demand)> = (0..self.loads.len())
            .filter(|&a| self.loads[a].at <= now)
            .map(|a| {
                let demand = Demand {
                    slots: self.slots_of(a),
                    leaving: 0,
                    wants: self.pending[a].min(1000) as u32,
                };
                (a, demand)
            })
            .filter(|(_, d)| d.is_active())
            .collect();
        self.sharing.observe(self.cores, demands, ms(now));
    }

    fn run_one(&mut self, array: usize, now: u64) {
        self.pending[array] -= 1;
        self.first_start[array].get_or_insert(now);
        self.slots.push((array, now + self.loads[array].takes));
    }

    /// One millisecond.
    fn step(&mut self, now: u64) -> Result<(), TestCaseError> {
        for (array, _) in &self.slots {
            self.served[*array] += 1;
        }
        let is_news = self.slots.iter().any(|(_, end)| *end <= now)
            || self.loads.iter().any(|load| load.at == now);
        if !is_news {
            return Ok(());
        }
        self.observe(now);
        let ended: Vec<usize> = self
            .slots
            .iter()
            .filter(|(_, end)| *end <= now)
            .map(|(a, _)| *a)
            .collect();
        self.slots.retain(|(_, end)| *end > now);
        for array in ended {
            if self.pending[array] > 0 && !self.sharing.yields(&array, ms(now)) {
                self.run_one(array, now);
            }
        }
        self.observe(now);
        while let Some(&array) = self.sharing.next() {
            self.sharing.started(&array, ms(now));
            self.run_one(array, now);
        }
        let launched = |a: usize| self.loads[a].at <= now;
        let waits = (0..self.loads.len()).any(|a| launched(a) && self.pending[a] > 0);
        prop_assert!(self.slots.len() <= self.cores as usize);
        prop_assert!(
            !waits || self.slots.len() == self.cores as usize,
            "a core idles"
        );
        Ok(())
    }

    fn run(&mut self, from: u64, until: u64) -> Result<(), TestCaseError> {
        (from..until).try_for_each(|now| self.step(now))
    }
}

fn endless(n: usize, takes: u64) -> Vec<Load> {
    vec![
        Load {
            at: 0,
            tasks: u64::MAX / 2,
            takes,
        };
        n
    ]
}

#[test]
fn a_small_array_behind_a_large_one_is_served_at_once() {
    let mut loads = endless(1, 50);
    loads.push(Load {
        at: 1_000,
        tasks: 2,
        takes: 1,
    });
    let mut machine = Machine::new(2, loads);
    machine.run(0, 1_500).unwrap();
    assert!(machine.first_start[1].unwrap() <= 1_100);
    assert_eq!(machine.pending[1], 0);
}

#[test]
fn on_one_core_two_arrays_take_turns() {
    let mut machine = Machine::new(1, endless(2, 20));
    machine.run(0, 10_000).unwrap();
    let (a, b) = (machine.served[0], machine.served[1]);
    assert!(a.abs_diff(b) <= 2 * 300, "{a} {b}");
}

#[test]
fn a_hundred_arrays_on_two_cores_have_all_begun_within_two_seconds() {
    let mut machine = Machine::new(2, endless(100, 10));
    machine.run(0, 2_000).unwrap();
    assert!(machine.first_start.iter().all(Option::is_some));
    machine.run(2_000, 20_000).unwrap();
    let (least, most) = (machine.served.iter().min(), machine.served.iter().max());
    assert!(
        most.unwrap() - least.unwrap() <= 100,
        "{:?}",
        machine.served
    );
}

#[test]
fn they_begin_in_the_order_of_their_launch() {
    let mut machine = Machine::new(1, endless(20, 10));
    machine.run(0, 4_000).unwrap();
    assert!(machine.first_start.is_sorted(), "{:?}", machine.first_start);
}

#[test]
fn alone_nobody_makes_way() {
    let mut sharing = Sharing::new();
    let alone = Demand {
        slots: 2,
        leaving: 0,
        wants: 7,
    };
    sharing.observe(2, [(1, alone)], ms(0));
    assert!(!sharing.yields(&1, ms(100_000)));
    assert!(!sharing.yields_idle(&1, ms(100_000)));
}

#[test]
fn one_newcomer_takes_one_core_of_four_and_two_of_two_hold_one_each() {
    let all = Demand {
        slots: 4,
        leaving: 0,
        wants: 9,
    };
    let new = Demand {
        slots: 0,
        leaving: 0,
        wants: 1,
    };
    let mut sharing = Sharing::new();
    sharing.observe(4, [(1, all), (2, new)], ms(10));
    assert!(sharing.yields(&1, ms(11)));
    // The slot that is on its way is enough for it.
    assert!(!sharing.yields(&1, ms(11)));
    let many = Demand { wants: 9, ..new };
    sharing.observe(4, [(1, all), (3, many)], ms(20));
    assert!(sharing.yields(&1, ms(21)));
    assert!(sharing.yields(&1, ms(21)));
    assert!(!sharing.yields(&1, ms(21)), "two and two is even");
}

#[test]
fn an_agent_that_only_waits_makes_way_for_whoever_can_use_its_core() {
    let idle = Demand {
        slots: 1,
        leaving: 0,
        wants: 0,
    };
    let wanting = Demand {
        slots: 0,
        leaving: 0,
        wants: 1,
    };
    let mut sharing = Sharing::new();
    sharing.observe(1, [(1, idle), (2, wanting)], ms(0));
    assert!(sharing.yields_idle(&1, ms(0)));
    let mut sharing = Sharing::new();
    sharing.observe(2, [(1, idle), (2, wanting)], ms(0));
    assert!(!sharing.yields_idle(&1, ms(0)), "a core is free");
}

#[test]
fn time_without_work_gives_no_claim_to_all_later_time() {
    let working = Demand {
        slots: 1,
        leaving: 0,
        wants: 5,
    };
    let one = Demand {
        slots: 1,
        leaving: 0,
        wants: 0,
    };
    let mut sharing = Sharing::new();
    // The first holds three cores for an hour, the second one with a single long task.
    let three = Demand {
        slots: 3,
        ..working
    };
    sharing.observe(4, [(1, three), (2, one)], ms(0));
    sharing.observe(4, [(1, three), (2, one)], ms(3_600_000));
    let apart = sharing.sharers[&1].served - sharing.sharers[&2].served;
    assert_eq!(apart, MOST_CREDIT);
    // One that is launched now starts level with it, not at nothing.
    let new = Demand {
        slots: 0,
        leaving: 0,
        wants: 1,
    };
    sharing.observe(4, [(1, three), (2, one), (3, new)], ms(3_600_000));
    assert_eq!(sharing.sharers[&3].served, sharing.sharers[&2].served);
}

fn loads() -> impl Strategy<Value = Vec<Load>> {
    let load = (0u64..3_000, 1u64..400, 1u64..120).prop_map(|(at, tasks, takes)| Load {
        at,
        tasks,
        takes,
    });
    proptest::collection::vec(load, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is launched when: no core idles while a task waits (checked at each step), and each
    /// array begins soon.
    #[test]
    fn cores_are_busy_and_everybody_begins(loads in loads(), cores in 1u32..9) {
        let longest = loads.iter().map(|l| l.takes).max().unwrap_or(0);
        let turns = (loads.len() as u64).div_ceil(u64::from(cores)) + 1;
        let bound = 2_000 + turns * 2 * longest;
        let mut machine = Machine::new(cores, loads);
        machine.run(0, 3_000 + bound)?;
        for (load, began) in machine.loads.iter().zip(&machine.first_start) {
            let began = began.ok_or_else(|| TestCaseError::fail(format!("{load:?} never began")))?;
            prop_assert!(began - load.at <= bound, "{load:?} began at {began}");
        }
    }

    /// Arrays that always have work are served alike, however long their tasks are beside each other's.
    #[test]
    fn service_is_equal(takes in proptest::collection::vec(1u64..150, 2..16), cores in 1u32..9) {
        let longest = *takes.iter().max().unwrap();
        let loads = takes.iter().map(|&takes| Load { at: 0, tasks: u64::MAX / 2, takes }).collect();
        let mut machine = Machine::new(cores, loads);
        machine.run(0, 2_000)?;
        let before = machine.served.clone();
        machine.run(2_000, 8_000)?;
        let got: Vec<u64> = machine.served.iter().zip(&before).map(|(a, b)| a - b).collect();
        let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
        // A quantum, and what it takes for a slot to be asked for, at either end of the time.
        prop_assert!(most - least <= 2 * (250 + 2 * longest), "{got:?} of {takes:?}");
    }

    /// With a core for each array and more, slots differ by one at most.
    #[test]
    fn slots_are_even(arrays in 1usize..9, spare in 0u32..9, takes in 1u64..50) {
        let cores = arrays as u32 + spare;
        let mut loads = endless(arrays, takes);
        for (nth, load) in loads.iter_mut().enumerate() {
            load.at = 100 * nth as u64;
        }
        let mut machine = Machine::new(cores, loads);
        machine.run(0, 2_000)?;
        let slots: Vec<u32> = (0..arrays).map(|a| machine.slots_of(a)).collect();
        let (least, most) = (slots.iter().min().unwrap(), slots.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{slots:?}");
    }

    /// Whatever it is told, and in whatever order: it neither panics nor gives out cores that are not there.
    #[test]
    fn any_history_is_borne(
        steps in proptest::collection::vec(
            (0u64..500, proptest::collection::btree_map(0u8..6, (0u32..4, 0u32..5, 0u32..5), 0..6), 0u8..6, 0u32..5),
            1..40,
        ),
    ) {
        let mut sharing: Sharing<u8> = Sharing::new();
        let mut now = 0;
        for (passed, demands, asks, cores) in steps {
            now += passed;
            let demands: Vec<(u8, Demand)> = demands
                .into_iter()
                .map(|(key, (slots, leaving, wants))| (key, Demand { slots, leaving, wants }))
                .collect();
            let taken: u32 = demands.iter().map(|(_, d)| d.slots).sum();
            sharing.observe(cores, demands, ms(now));
            prop_assert!(sharing.next().is_none() || taken < cores);
            sharing.yields(&asks, ms(now));
            sharing.yields_idle(&asks, ms(now));
            if let Some(key) = sharing.next().copied() {
                sharing.started(&key, ms(now));
            }
        }
    }
}
