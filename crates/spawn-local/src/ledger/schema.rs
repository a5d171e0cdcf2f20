//! What the ledger's file holds, and how older files become newer ones.
//!
//! The version is in `PRAGMA user_version`; `PRAGMA application_id` says that the file is ours.
//!
//! - What changes with every claim (`progress`) is apart from what never changes (`arrays`):
//!   a specification may be large, and SQLite rewrites whole rows.
//! - A task gets its row when it is first claimed; positions from `progress.fresh` on have none.
//!   An array of several lanes (`arrays.lanes`, how many tasks each has, as JSON) has such a
//!   position for each of them, in `lanes`, and does not use that of `progress`.
//! - Tasks that a closing ended have no row or are stored as pending. When a part of the array is
//!   opened again, the others get the state of such an end, and a row if they had none.
//! - A task's newest attempt is in its own row. It moves to `attempts` when the task is claimed
//!   again.
//! - States and causes are small integers, see [`super::rows`]. States above 5 are marked: few
//!   tasks have one, and `tasks_marked` finds them.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// `spwn` in ASCII, in the file's header.
pub(super) const APPLICATION_ID: i32 = 0x7370_776e;

/// Step `n` leads from version `n` to `n + 1`. Released steps are never edited.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE arrays (
    array      INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    spec       TEXT NOT NULL,
    total      INTEGER NOT NULL,
    budgets    TEXT NOT NULL,
    deadline   INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE progress (
    array        INTEGER PRIMARY KEY,
    intent       INTEGER NOT NULL,
    fresh        INTEGER NOT NULL,
    next_token   INTEGER NOT NULL,
    pending      INTEGER NOT NULL,
    running      INTEGER NOT NULL,
    succeeded    INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    skipped      INTEGER NOT NULL,
    cancelled    INTEGER NOT NULL,
    interrupted  INTEGER NOT NULL,
    workers_lost INTEGER NOT NULL,
    started_at   INTEGER,
    ended_at     INTEGER
) STRICT;
CREATE INDEX progress_unfinished ON progress (array) WHERE ended_at IS NULL;
CREATE TABLE tasks (
    array      INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    token      INTEGER NOT NULL,
    agent      INTEGER,
    started_at INTEGER,
    ended_at   INTEGER,
    not_before INTEGER NOT NULL,
    spent      BLOB,
    cause      INTEGER,
    exit_code  INTEGER,
    signal     INTEGER,
    message    TEXT,
    log_offset INTEGER,
    log_len    INTEGER,
    PRIMARY KEY (array, position)
) WITHOUT ROWID, STRICT;
CREATE INDEX tasks_handed_back ON tasks (array, not_before) WHERE state = 0;
CREATE INDEX tasks_running ON tasks (array, agent) WHERE state = 1;
CREATE INDEX tasks_failed ON tasks (array, ended_at) WHERE state = 3;
CREATE TABLE attempts (
    array      INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    agent      INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    cause      INTEGER,
    exit_code  INTEGER,
    signal     INTEGER,
    message    TEXT,
    log_offset INTEGER,
    log_len    INTEGER,
    PRIMARY KEY (array, position, attempt)
) WITHOUT ROWID, STRICT;
CREATE TABLE agents (
    agent       INTEGER PRIMARY KEY,
    array       INTEGER NOT NULL,
    slot        INTEGER NOT NULL,
    pid         INTEGER NOT NULL,
    pid_started INTEGER NOT NULL,
    boot        TEXT NOT NULL,
    hostname    TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    last_update INTEGER NOT NULL,
    ended_at    INTEGER,
    tasks_done  INTEGER NOT NULL
) STRICT;
CREATE INDEX agents_of_array ON agents (array, agent);
CREATE INDEX agents_live ON agents (agent) WHERE ended_at IS NULL;
",
    "
ALTER TABLE arrays ADD COLUMN lanes TEXT;
CREATE TABLE lanes (
    array   INTEGER NOT NULL,
    lane    INTEGER NOT NULL,
    fresh   INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    running INTEGER NOT NULL,
    PRIMARY KEY (array, lane)
) WITHOUT ROWID, STRICT;
ALTER TABLE agents ADD COLUMN lane INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN last_stderr TEXT;
ALTER TABLE tasks ADD COLUMN peak_memory INTEGER;
ALTER TABLE tasks ADD COLUMN cpu_micros INTEGER;
ALTER TABLE tasks ADD COLUMN failed_calls TEXT;
ALTER TABLE attempts ADD COLUMN last_stderr TEXT;
ALTER TABLE attempts ADD COLUMN peak_memory INTEGER;
ALTER TABLE attempts ADD COLUMN cpu_micros INTEGER;
ALTER TABLE attempts ADD COLUMN failed_calls TEXT;
CREATE INDEX tasks_marked ON tasks (array, state, position) WHERE state > 5;
",
];

/// The version this program writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings a file of `found` or older up to [`VERSION`], in one transaction.
pub(super) fn migrate(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = Transaction::new(conn, TransactionBehavior::Immediate)?;
    // Asked again under the write lock: another process may have been faster.
    let found = version(&tx)?;
    if found < VERSION {
        for step in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
            tx.execute_batch(step)?;
        }
        tx.execute_batch(&format!(
            "PRAGMA user_version = {VERSION}; PRAGMA application_id = {APPLICATION_ID};"
        ))?;
    }
    tx.commit()
}

/// Makes the tables of an older version, or of this one, in an empty database.
pub(super) fn make_version(conn: &Connection, version: i64) -> rusqlite::Result<()> {
    let steps = MIGRATIONS
        .iter()
        .take(usize::try_from(version).unwrap_or(0));
    steps.copied().try_for_each(|step| conn.execute_batch(step))
}

/// The version the file says it has; 0 for an empty one.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}
