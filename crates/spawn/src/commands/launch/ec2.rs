//! A launch on EC2: checked, planned, journalled, and carried out step by step.

use std::fs;
use std::path::Path;

use spawn_aws::client::{Client, new_token};
use spawn_core::array_id::ArrayId;
use spawn_core::cost::Cost;
use spawn_core::duration::Span;
use spawn_core::moment::UnixMicros;
use spawn_dynamo::{DynamoLedger, DynamoOptions};
use spawn_ec2::facts::Facts;
use spawn_ec2::furnish::{Furniture, furnish};
use spawn_ec2::journal::Journal;
use spawn_ec2::launch::launch;
use spawn_ec2::plan::{LaunchPlan, Request, plan};
use spawn_ec2::preflight::{Finding, preflight};
use spawn_ec2::programs::{Program, Programs};
use spawn_ec2::setup::{self, LONGEST_TTL_DAYS, Missing};
use spawn_ec2::{gather, names, prices};
use spawn_local::home::Home;
use spawn_local::private_files;
use spawn_local::submission::own_umask;
use spawn_node::boot::{Need, PATIENCE_S};
use spawn_node::bundle;
use spawn_node::dynamo_api::AwsDynamo;
use spawn_spec::Resolved;

use super::{Args, Report, advise, new_id};
use crate::bundle as files;
use crate::commands::{Exit, confirm::confirm};
use crate::ec2::backend::Where;
use crate::ec2::known::{self, Known};
use crate::ec2::{account, programs};
use crate::error::CliError;
use crate::read_model::PlanView;
use crate::render::{Output, counted, write_plan};
use crate::session::{Session, home};

/// More machines than this are asked about.
const UNASKED: u64 = 100;
/// How long a silent worker is waited for if nothing else is said.
const LEASE_MS: u64 = 90_000;
/// Says otherwise.
const LEASE: &str = "SPAWN_LEASE";
/// Says how long machines try to get ready, if not ten minutes.
const BOOT_PATIENCE: &str = "SPAWN_BOOT_PATIENCE";

/// Checks everything, then starts it.
pub fn run(args: &Args, resolved: &Resolved, output: &Output) -> Result<Exit, CliError> {
    let home = home()?;
    let limit = resolved.wait_timeout.map(|span| span.as_duration());
    let (id, launched) = new_id()?;
    let draft = Draft::new(&home, resolved, &id, launched)?;
    let mut view = PlanView::new(resolved);
    view.workers = draft.plan.machines();
    let first_line = draft.first_line();
    if args.launch.dry_run {
        view.steps = draft.lines();
        if output.json {
            output.write_json(&view)?;
        } else {
            output.write(|out| {
                use std::io::Write;
                writeln!(out, "{first_line}")?;
                write_plan(out, &view, output.style)
            })?;
        }
        draft.advise(resolved, output);
        return Ok(Exit::Ok);
    }
    let mut report = Report::open(&args.launch, limit, output)?;
    report.line(&first_line)?;
    if !args.launch.quiet {
        draft.advise(resolved, output);
    }
    let place = draft.place();
    let started = agree(args, &draft).and_then(|()| {
        let (client, journal) = draft.begin(&home, resolved)?;
        Ok((client, journal))
    });
    let (client, mut journal) = started.inspect_err(|_| {
        report.discard();
        files::remove(&home, &id);
    })?;
    report.id_is(&id)?;
    carry_out(&client, &home, &id, &mut journal)?;
    let mut session = Session::on_ec2(place)?;
    report.finish(&mut session, &id, &view)
}

/// What a launch would find.
pub struct Examined {
    /// Whose account, and where.
    pub who: String,
    /// What is as it should be, or will be made.
    pub good: Vec<String>,
    /// What works with less than was asked.
    pub warnings: Vec<String>,
}

/// Looks at everything that a launch looks at, and makes nothing.
pub fn examine(resolved: &Resolved) -> Result<Examined, CliError> {
    let (id, launched) = new_id()?;
    let draft = Draft::new(&home()?, resolved, &id, launched)?;
    let mut good: Vec<String> = draft
        .plan
        .lanes
        .iter()
        .map(|lane| {
            format!(
                "{} {} can be started from {} in {}",
                if lane.spot { "spot" } else { "on-demand" },
                lane.types.join(" or "),
                lane.image,
                counted(lane.subnets.len() as u64, "subnet"),
            )
        })
        .collect();
    good.push(format!("costs {}", draft.cost));
    let missing = draft.missing.iter();
    good.extend(missing.map(|missing| format!("a first launch will {missing}")));
    Ok(Examined {
        who: format!(
            "signed in to account {}, region {}",
            draft.facts.account, draft.facts.region
        ),
        good,
        warnings: draft.warnings.iter().map(ToString::to_string).collect(),
    })
}

/// Goes on with a launch that broke off.
pub fn resume(typed: &str, args: &Args, output: &Output) -> Result<Exit, CliError> {
    let home = home()?;
    let known = known::matching(&known::all(&home)?, typed);
    let known = match known.as_slice() {
        [known] => known.clone(),
        [] => {
            return Err(CliError::NoArray {
                typed: typed.to_owned(),
            });
        }
        many => {
            return Err(CliError::ManyArrays {
                typed: typed.to_owned(),
                candidates: many.iter().map(|known| known.array.clone()).collect(),
            });
        }
    };
    let id = &known.array;
    let mut journal =
        Journal::open(&known::journal(&home, id)).map_err(ec2("go on with the launch", None))?;
    let was_complete = journal.is_complete();
    let mut report = Report::open(&args.launch, None, output)?;
    if !was_complete {
        let client = account::client(Some(&known.region))?;
        carry_out(&client, &home, id, &mut journal)?;
    }
    report.id_is(id)?;
    if was_complete {
        output.note(&format!("the launch of `{id}` was complete"));
    }
    let machines = counted(journal.plan().machines(), "machine");
    report.line(&format!("{id}  {machines} in {}", known.region))?;
    if report.is_quiet && !output.json {
        output.write(|out| {
            use std::io::Write;
            writeln!(out, "{id}")
        })?;
    }
    if output.json {
        output.write_json(&known)?;
    }
    Ok(Exit::Ok)
}

fn carry_out(
    client: &Client,
    home: &Home,
    id: &ArrayId,
    journal: &mut Journal,
) -> Result<(), CliError> {
    let bundle = known::bundle(home, id);
    // Once the bundle is in the bucket, it is not needed here any more.
    let content = fs::read(&bundle).unwrap_or_default();
    launch(client, &mut ledger(client), journal, &content).map_err(|source| {
        CliError::BrokeOff {
            id: id.clone(),
            source: Box::new(source),
        }
    })?;
    let _ = fs::remove_file(bundle);
    Ok(())
}

/// The ledger of a client's account and region.
pub fn ledger(client: &Client) -> DynamoLedger<AwsDynamo> {
    DynamoLedger::new(
        AwsDynamo(client.clone()),
        DynamoOptions {
            table: names::TABLE.to_owned(),
            ..DynamoOptions::default()
        },
    )
}

fn agree(args: &Args, draft: &Draft) -> Result<(), CliError> {
    let machines = draft.plan.machines();
    if machines <= UNASKED {
        return Ok(());
    }
    let what = format!(
        "this starts {machines} machines in {} of account {}",
        draft.facts.region, draft.facts.account
    );
    confirm(&what, args.yes, "spawn launch --yes ...".to_owned())
}

fn ec2<E>(what: &'static str, hint: Option<String>) -> impl FnOnce(E) -> CliError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |e| CliError::Ec2 {
        what,
        source: Box::new(e),
        hint,
    }
}

/// A launch that was checked, and of which nothing was made yet.
struct Draft {
    client: Client,
    facts: Facts,
    programs: Programs,
    missing: Vec<Missing>,
    warnings: Vec<Finding>,
    /// Without what the machines are told.
    plan: LaunchPlan,
    needs: Vec<Need>,
    lease_ms: u64,
    boot_patience_s: u32,
    cost: Cost,
}

impl Draft {
    /// Looks at everything. Reads only.
    fn new(
        home: &Home,
        resolved: &Resolved,
        id: &ArrayId,
        launched: UnixMicros,
    ) -> Result<Draft, CliError> {
        let spec = &resolved.spec;
        // A lease that is shorter is over before a heartbeat is answered.
        let lease_ms = time_from(LEASE, LEASE_MS, (3_000, "3s"), (600_000, "10m"))?;
        let patience = u64::from(PATIENCE_S) * 1000;
        let patience = time_from(BOOT_PATIENCE, patience, (5_000, "5s"), (3_600_000, "1h"))?;
        let longest = u64::from(LONGEST_TTL_DAYS) * 24 * 3_600_000;
        if spec.ttl_ms > longest {
            return Err(CliError::Usage {
                message: format!("`--ttl` on EC2 is {LONGEST_TTL_DAYS}d at most"),
                hint: Some("`spawn extend` gives an array that runs more time".to_owned()),
            });
        }
        let client = account::client(spec.region.as_deref())?;
        let programs = programs::find().map_err(ec2("use the machines' programs", None))?;
        let facts = gather::gather(&client, spec)?;
        // The bundle is packed once it is known that the launch can work.
        let nothing_yet = vec!["#".to_owned(); spec.all_lanes().len()];
        let request = Request {
            id,
            spec,
            launched,
            token: &new_token(client.clock()),
            bundle_sha256: "",
            bundle_size: resolved.ship.len() as u64,
            user_data: &nothing_yet,
        };
        let (fatal, warnings): (Vec<Finding>, Vec<Finding>) = preflight(&request, &facts, launched)
            .into_iter()
            .partition(|finding| finding.is_fatal);
        if !fatal.is_empty() {
            return Err(CliError::Preflight {
                is_signed_out: facts.account.is_empty(),
                found: fatal,
            });
        }
        let mut known = facts.clone();
        known
            .security_group
            .get_or_insert_with(|| spawn_ec2::firewall::NAME.to_owned());
        let plan = plan(&request, &known).map_err(ec2("plan the launch", None))?;
        let used = used(&plan, &programs)?;
        let missing =
            setup::look(&client, &facts, &used).map_err(ec2("see what the account has", None))?;
        let mut cache = prices::Cache::in_directory(home.root());
        let wanted = prices::wanted(&plan);
        let prices = prices::look_up(&client, &facts, &mut cache, &wanted, launched);
        Ok(Draft {
            cost: prices::cost(&plan, &prices),
            needs: needs(&resolved.tools),
            client,
            facts,
            programs,
            missing,
            warnings,
            plan,
            lease_ms,
            boot_patience_s: u32::try_from(patience / 1000).unwrap_or(PATIENCE_S),
        })
    }

    fn place(&self) -> Where {
        Where {
            region: self.facts.region.clone(),
            account: self.facts.account.clone(),
        }
    }

    fn first_line(&self) -> String {
        let machines: Vec<String> = self
            .plan
            .lanes
            .iter()
            .map(|lane| {
                let kind = if lane.spot { "spot" } else { "on-demand" };
                format!("{} {kind} {}", lane.machines, lane.types.join(" or "))
            })
            .collect();
        format!(
            "ec2: runs on {} in {} of account {}; costs money: {}",
            machines.join(", "),
            self.facts.region,
            self.facts.account,
            self.cost
        )
    }

    fn lines(&self) -> Vec<String> {
        let missing = self.missing.iter().map(ToString::to_string);
        missing.chain(self.plan.lines()).collect()
    }

    fn advise(&self, resolved: &Resolved, output: &Output) {
        advise(resolved, "on EC2", output);
        for finding in &self.warnings {
            output.warn(&finding.to_string());
        }
    }

    /// Sets the account up, and begins the journal. Nothing of the array is made yet.
    fn begin(mut self, home: &Home, resolved: &Resolved) -> Result<(Client, Journal), CliError> {
        let id = self.plan.id().clone();
        files::place(home, &id, resolved)?;
        let (content, sha256) = pack(&home.job(&id))?;
        let mut ledger = ledger(&self.client);
        setup::make(&self.client, &mut ledger, &mut self.facts, &self.missing)
            .map_err(ec2("set the account up", None))?;
        let nothing_yet = vec!["#".to_owned(); self.plan.lanes.len()];
        let request = Request {
            id: &id,
            spec: &resolved.spec,
            launched: self.plan.launched,
            token: &self.plan.token,
            bundle_sha256: &sha256,
            bundle_size: content.len() as u64,
            user_data: &nothing_yet,
        };
        let mut plan = plan(&request, &self.facts).map_err(ec2("plan the launch", None))?;
        let furniture = Furniture {
            programs: &self.programs,
            needs: &self.needs,
            lease_ms: self.lease_ms,
            boot_patience_s: self.boot_patience_s,
            umask: own_umask(),
        };
        furnish(&mut plan, &resolved.spec, &furniture).map_err(ec2("plan the launch", None))?;
        known::remember(
            home,
            &Known {
                array: id.clone(),
                name: resolved.spec.name.clone(),
                region: plan.region.clone(),
                account: plan.account.clone(),
                launched: plan.launched,
            },
        )?;
        let path = known::bundle(home, &id);
        private_files::write(&path, content).map_err(|source| CliError::File {
            verb: "write",
            path,
            source,
        })?;
        let journal = Journal::begin(&known::journal(home, &id), &plan)
            .map_err(ec2("begin the launch's journal", None))?;
        Ok((self.client, journal))
    }
}

fn pack(job: &Path) -> Result<(Vec<u8>, String), CliError> {
    let mut content = Vec::new();
    bundle::pack(job, &mut content).map_err(ec2("pack the files of the launch", None))?;
    let sha256 = bundle::sha256(content.as_slice()).map_err(|source| CliError::System {
        what: "pack the files of the launch",
        source,
    })?;
    Ok((content, sha256))
}

/// The programs that the plan's machines fetch.
fn used<'p>(plan: &LaunchPlan, programs: &'p Programs) -> Result<Vec<&'p Program>, CliError> {
    let mut used = Vec::new();
    for lane in &plan.lanes {
        let architecture = lane.architecture.as_str();
        let both = programs.of(architecture).ok_or_else(|| CliError::Ec2 {
            what: "give the machines what they run",
            source: format!("`spored-node` and `spored` for {architecture} are not beside `spawn`").into(),
            hint: Some(format!(
                "build them with `scripts/build-node {architecture}`, or name their directory in {}",
                programs::VARIABLE
            )),
        })?;
        for program in both {
            if !used.contains(&program) {
                used.push(program);
            }
        }
    }
    Ok(used)
}

/// What the script runs that an image may lack.
fn needs(tools: &[String]) -> Vec<Need> {
    let mut needs: Vec<Need> = tools
        .iter()
        .filter_map(|tool| match tool.as_str() {
            "jq" => Some(Need::Jq),
            "aws" => Some(Need::Aws),
            "python" | "python3" => Some(Need::Python3),
            _ => None,
        })
        .collect();
    needs.sort_unstable();
    needs.dedup();
    needs
}

/// A time in milliseconds that a variable of the environment may set, between two bounds.
fn time_from(
    variable: &str,
    usual: u64,
    least: (u64, &str),
    most: (u64, &str),
) -> Result<u64, CliError> {
    let Ok(text) = std::env::var(variable) else {
        return Ok(usual);
    };
    let wrong = |why: String| CliError::Usage {
        message: format!("`{variable}={text}`: {why}"),
        hint: Some("give a time such as `90s`".to_owned()),
    };
    let span: Span = text.parse().map_err(|e| wrong(format!("{e}")))?;
    match span.as_millis() {
        ms if (least.0..=most.0).contains(&ms) => Ok(ms),
        _ => Err(wrong(format!("{} to {} are possible", least.1, most.1))),
    }
}
