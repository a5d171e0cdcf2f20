//! What can happen in a history.

use proptest::prelude::*;
use spawn_core::outcome::Cause;
use spawn_core::task::Intent;

/// One step of a history. Numbers pick among what there is, so that every step means something.
#[derive(Debug, Clone)]
pub enum Step {
    /// Submits an array.
    Submit {
        /// How many tasks.
        total: u64,
        /// Retries for each cause.
        retries: u32,
        /// First backoff, in milliseconds.
        backoff: u64,
        /// How many lanes; as many as there are tasks if that is less.
        lanes: u64,
    },
    /// Enrols an agent with an array, for one of its lanes or one more.
    Enroll(usize, u32),
    /// An agent claims.
    Claim {
        /// Which agent.
        agent: usize,
        /// How many tasks.
        want: u32,
    },
    /// An agent commits some leases.
    Commit {
        /// Which agent; the leases' own if `None`.
        agent: Option<usize>,
        /// Which leases, newest first, and how they ended.
        leases: Vec<(usize, Forgery, Cause)>,
    },
    /// An agent hands leases back.
    Release {
        /// Which leases, newest first.
        lease: usize,
        /// How many positions besides.
        more: u64,
        /// What is wrong with the token.
        forgery: Forgery,
    },
    /// An agent ends.
    EndAgent(usize),
    /// An array is closed.
    Close(usize, Intent),
    /// The deadline of an array is moved.
    Extend(usize),
    /// What failed in an array runs again.
    ReopenFailed(usize),
    /// Tasks run again: from a position on, every so many.
    ReopenSome {
        /// Which array.
        array: usize,
        /// The first position.
        first: u64,
        /// How far the next is.
        step: u64,
    },
    /// Every agent is gone at once, as when the machine they run on dies.
    AllEnd,
    /// Time passes, in milliseconds.
    Pass(u64),
    /// The clock is set back, in milliseconds.
    SetBack(u64),
}

/// What a commit gets wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// Nothing.
    Genuine,
    /// Its token is one too old.
    Older,
    /// Its token was not given out yet.
    Newer,
    /// It carries no token.
    None,
    /// Its position is beyond the array.
    Beyond,
}

/// Histories of up to `longest` steps. They begin with an array and two agents: without, most
/// steps of most histories would find nothing to do.
pub fn histories(longest: usize) -> impl Strategy<Value = Vec<Step>> {
    let steps = proptest::collection::vec(step(), 1..longest);
    (submit(), steps).prop_map(|(first, rest)| {
        let begin = [first, Step::Enroll(0, 0), Step::Enroll(0, 1)];
        begin.into_iter().chain(rest).collect()
    })
}

fn submit() -> impl Strategy<Value = Step> {
    let lanes = prop_oneof![2 => Just(1), 1 => 2_u64..5];
    let backoff = prop_oneof![Just(0), 1_u64..3_000];
    (1_u64..12, 0_u32..3, backoff, lanes).prop_map(|(total, retries, backoff, lanes)| {
        Step::Submit {
            total,
            retries,
            backoff,
            lanes,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let forgery = prop_oneof![
        12 => Just(Forgery::Genuine),
        1 => Just(Forgery::Older),
        1 => Just(Forgery::Newer),
        1 => Just(Forgery::None),
        1 => Just(Forgery::Beyond),
    ];
    let cause = prop_oneof![
        4 => Just(Cause::Succeeded),
        // Often enough that budgets run out.
        5 => Just(Cause::Exit),
        2 => Just(Cause::Interrupted),
        5 => proptest::sample::select(&Cause::ALL[..]),
    ];
    let leases = proptest::collection::vec((0_usize..6, forgery.clone(), cause), 1..5);
    let agent = prop_oneof![4 => Just(None), 1 => (0_usize..4).prop_map(Some)];
    let intent = prop_oneof![
        Just(Intent::Cancel),
        Just(Intent::Expired),
        Just(Intent::Halted),
        Just(Intent::Run)
    ];
    let set_back = prop_oneof![0_u64..5_000, Just(86_400_000)];
    prop_oneof![
        2 => submit(),
        4 => (0_usize..3, 0_u32..4).prop_map(|(array, lane)| Step::Enroll(array, lane)),
        8 => (0_usize..4, 0_u32..6).prop_map(|(agent, want)| Step::Claim { agent, want }),
        8 => (agent, leases).prop_map(|(agent, leases)| Step::Commit { agent, leases }),
        2 => (0_usize..6, 0_u64..3, forgery)
            .prop_map(|(lease, more, forgery)| Step::Release { lease, more, forgery }),
        2 => (0_usize..4).prop_map(Step::EndAgent),
        2 => (0_usize..3, intent).prop_map(|(array, intent)| Step::Close(array, intent)),
        1 => (0_usize..3).prop_map(Step::Extend),
        1 => (0_usize..3).prop_map(Step::ReopenFailed),
        1 => (0_usize..3, 0_u64..12, 1_u64..5)
            .prop_map(|(array, first, step)| Step::ReopenSome { array, first, step }),
        1 => Just(Step::AllEnd),
        4 => (0_u64..4_000).prop_map(Step::Pass),
        1 => set_back.prop_map(Step::SetBack),
    ]
}
