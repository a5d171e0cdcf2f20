//! The local provider: workers as sandboxes of this machine, a ledger in SQLite, and the
//! protocol between the commands, the host and the agents.
//!
//! - [`home`]: where everything lives, and that nobody else reaches it. [`private_files`]: how its
//!   files are made. [`submission`]: what the ledger keeps of a launch.
//! - [`answers`]: what commands are answered from a ledger alone.
//! - [`array_files`]: what lies under `arrays/`, held against what the ledger knows.
//! - [`caller`]: which task calls the endpoint.
//! - [`ledger`]: the SQLite ledger; the host is its one writer.
//! - [`wire`]: what commands, host and agents say. [`host_client`]: how a command reaches the
//!   host, starting it where none runs.
//! - [`sandbox`]: the worker: namespaces, the init inside, cleaning up. [`task_log`]: one log
//!   per agent, a region per attempt. [`rows`]: the rows of a parameter file, as tasks find them.
//!   [`read_only`]: homes that cannot be written to. [`shortage`]: failures that pass when somebody makes room.

pub mod answers;
pub mod array_files;
pub mod caller;
pub mod endpoint_env;
pub mod home;
pub mod host_client;
pub mod ledger;
pub mod private_files;
pub mod read_only;
pub mod rows;
pub mod sandbox;
pub mod shortage;
pub mod submission;
pub mod task_log;
pub mod wall_clock;
pub mod wire;
pub mod worker_name;
