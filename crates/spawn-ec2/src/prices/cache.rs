//! Prices on disk, so that a launch after another asks nobody.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use spawn_core::moment::UnixMicros;
use spawn_local::private_files;

use super::is_price;

/// The file's name.
pub const FILE: &str = "prices.json";

const VERSION: u32 = 1;
const SECOND: u64 = 1_000_000;
const GOOD_ON_DEMAND: u64 = 7 * 24 * 3600 * SECOND;
const GOOD_SPOT: u64 = 3600 * SECOND;
/// A price of a launch that began a little later than this one is good, too.
const AHEAD: u64 = 60 * SECOND;

/// What a price is of, and who said it: a test bed's prices are not AWS's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) endpoint: String,
    pub(super) account: String,
    pub(super) region: String,
    #[serde(rename = "type")]
    pub(super) instance_type: String,
    pub(super) spot: bool,
}

/// USD for one machine and hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Known {
    OnDemand(f64),
    /// By zone.
    Spot(BTreeMap<String, f64>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) key: Key,
    pub(super) as_of: UnixMicros,
    #[serde(rename = "usd_per_hour")]
    pub(super) known: Known,
}

impl Entry {
    fn is_sound(&self) -> bool {
        match &self.known {
            Known::OnDemand(usd) => !self.key.spot && is_price(*usd),
            Known::Spot(zones) => self.key.spot && zones.values().all(|usd| is_price(*usd)),
        }
    }

    fn is_old(&self, now: UnixMicros) -> bool {
        let good = if self.key.spot {
            GOOD_SPOT
        } else {
            GOOD_ON_DEMAND
        };
        now.micros_since(self.as_of) >= good
    }

    fn is_good(&self, now: UnixMicros) -> bool {
        !self.is_old(now) && self.as_of.micros_since(now) <= AHEAD
    }
}

/// Prices that were looked up before: on-demand ones are good for seven days, spot ones for an hour.
///
/// A file that is missing or damaged counts as empty and is written anew. Several processes may use
/// one file: it is replaced as a whole, with what others put into it meanwhile.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    entries: BTreeMap<Key, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    prices: Vec<Entry>,
}

impl Cache {
    /// The cache in the file [`FILE`] of a directory.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let entries = read(&path);
        Self { path, entries }
    }

    /// What is known and not too old; nothing from the future either, as a clock that was set back
    /// leaves it.
    pub(super) fn fresh(&self, key: &Key, now: UnixMicros) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.is_good(now))
    }

    /// Takes over new prices, and puts them into the file beside what others put there. Old ones
    /// are left out.
    pub(super) fn keep(&mut self, new: Vec<Entry>, now: UnixMicros) -> io::Result<()> {
        let mut all = read(&self.path);
        for entry in new {
            self.entries.insert(entry.key.clone(), entry.clone());
            all.insert(entry.key.clone(), entry);
        }
        let prices = all.into_values().filter(|entry| !entry.is_old(now));
        let document = Document {
            version: VERSION,
            prices: prices.collect(),
        };
        replace(&self.path, &serde_json::to_vec_pretty(&document)?)
    }
}

fn read(path: &Path) -> BTreeMap<Key, Entry> {
    let document = fs::read(path)
        .ok()
        .and_then(|text| serde_json::from_slice::<Document>(&text).ok())
        .filter(|document| document.version == VERSION);
    let prices = document.map(|document| document.prices).unwrap_or_default();
    let sound = prices.into_iter().filter(Entry::is_sound);
    sound.map(|entry| (entry.key.clone(), entry)).collect()
}

/// Writes a file as a whole: who reads it sees the old one or the new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // Threads of one process write drafts of their own, too.
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let written = private_files::write(&draft, content).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMicros = UnixMicros(1_795_608_000_000_000);
    const HOUR_MS: u64 = 3_600_000;

    fn key(name: &str, spot: bool) -> Key {
        Key {
            endpoint: "https://aws.example".to_owned(),
            account: String::new(),
            region: "eu-west-1".to_owned(),
            instance_type: name.to_owned(),
            spot,
        }
    }

    fn on_demand(name: &str, usd: f64, as_of: UnixMicros) -> Entry {
        Entry {
            key: key(name, false),
            as_of,
            known: Known::OnDemand(usd),
        }
    }

    fn spot(name: &str, usd: f64, as_of: UnixMicros) -> Entry {
        Entry {
            key: key(name, true),
            as_of,
            known: Known::Spot([("eu-west-1a".to_owned(), usd)].into()),
        }
    }

    fn files(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect()
    }

    #[test]
    fn prices_are_good_for_their_time() {
        let home = tempfile::tempdir().unwrap();
        let mut cache = Cache::in_directory(home.path());
        let entries = [
            on_demand("m5.large", 0.107, NOW),
            spot("m5.large", 0.04, NOW),
        ];
        cache.keep(entries.to_vec(), NOW).unwrap();
        assert_eq!(files(home.path()), [FILE]);
        let cache = Cache::in_directory(home.path());
        for (hours, on_demand, spot) in [
            (0, true, true),
            (1, true, false),
            (7 * 24 - 1, true, false),
            (7 * 24, false, false),
        ] {
            let later = NOW.plus_millis(hours * HOUR_MS);
            let has = |spot| cache.fresh(&key("m5.large", spot), later).is_some();
            assert_eq!((has(false), has(true)), (on_demand, spot), "{hours} h");
        }
        let just = NOW.plus_millis(HOUR_MS - 1);
        assert_eq!(cache.fresh(&key("m5.large", true), just), Some(&entries[1]));
        let before = |seconds: i64| UnixMicros(NOW.0 - seconds * 1_000_000);
        assert!(cache.fresh(&key("m5.large", true), before(60)).is_some());
        assert!(cache.fresh(&key("m5.large", true), before(61)).is_none());
    }

    #[test]
    fn a_price_is_of_one_type_market_region_and_place() {
        let home = tempfile::tempdir().unwrap();
        let mut cache = Cache::in_directory(home.path());
        let entry = on_demand("m5.large", 0.107, NOW);
        cache.keep(vec![entry.clone()], NOW).unwrap();
        assert!(cache.fresh(&entry.key, NOW).is_some());
        let others: [fn(&mut Key); 5] = [
            |k| k.endpoint = "http://127.0.0.1:4566".to_owned(),
            |k| k.account = "2".to_owned(),
            |k| k.region = "eu-west-2".to_owned(),
            |k| k.instance_type = "m5.xlarge".to_owned(),
            |k| k.spot = true,
        ];
        for change in others {
            let mut other = entry.key.clone();
            change(&mut other);
            assert!(cache.fresh(&other, NOW).is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_empty_and_written_anew() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        let mut cache = Cache::in_directory(home.path());
        let entry = on_demand("m5.large", 0.107, NOW);
        cache.keep(vec![entry.clone()], NOW).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let cut = &whole[..whole.len() / 2];
        let damaged = [
            "".as_bytes(),
            cut.as_bytes(),
            b"[]",
            b"{\"version\":1}",
            &[0xff, 0x00, 0x80],
        ];
        for content in damaged {
            fs::write(&path, content).unwrap();
            let mut cache = Cache::in_directory(home.path());
            assert!(cache.fresh(&entry.key, NOW).is_none());
            cache.keep(vec![entry.clone()], NOW).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        }
        let other_version = whole.replace("\"version\": 1", "\"version\": 2");
        assert_ne!(other_version, whole);
        for wrong in [
            other_version,
            whole.replace("0.107", "-0.107"),
            whole.replace("0.107", "0.0"),
            whole.replace("\"spot\": false", "\"spot\": true"),
        ] {
            fs::write(&path, wrong).unwrap();
            assert!(Cache::in_directory(home.path()).entries.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_written_is_still_known() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        fs::create_dir(&path).unwrap();
        let mut cache = Cache::in_directory(home.path());
        let entry = on_demand("m5.large", 0.107, NOW);
        assert!(cache.keep(vec![entry.clone()], NOW).is_err());
        assert_eq!(cache.fresh(&entry.key, NOW), Some(&entry));
        assert_eq!(files(home.path()), [FILE], "no draft is left");
        let mut nowhere = Cache::in_directory(&home.path().join("none"));
        assert!(nowhere.keep(vec![entry.clone()], NOW).is_err());
        assert_eq!(nowhere.fresh(&entry.key, NOW), Some(&entry));
    }

    #[test]
    fn what_is_new_joins_what_others_wrote_and_old_prices_go() {
        let home = tempfile::tempdir().unwrap();
        let mut one = Cache::in_directory(home.path());
        let mut two = Cache::in_directory(home.path());
        let later = NOW.plus_millis(2 * HOUR_MS);
        let mine = [on_demand("a1.large", 0.1, NOW), spot("a1.large", 0.1, NOW)];
        one.keep(mine.to_vec(), NOW).unwrap();
        two.keep(vec![on_demand("b1.large", 0.2, later)], later)
            .unwrap();
        let both = Cache::in_directory(home.path());
        let names: Vec<_> = both
            .entries
            .keys()
            .map(|k| (k.instance_type.as_str(), k.spot))
            .collect();
        assert_eq!(names, [("a1.large", false), ("b1.large", false)]);
    }

    #[test]
    fn many_writers_leave_a_whole_file() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                scope.spawn(move || {
                    let name = format!("m{writer}.large");
                    let mut cache = Cache::in_directory(directory);
                    for round in 1..=40 {
                        let entry = on_demand(&name, f64::from(round), NOW);
                        cache.keep(vec![entry], NOW).unwrap();
                        let text = fs::read(directory.join(FILE)).unwrap();
                        let whole: Document = serde_json::from_slice(&text).unwrap();
                        assert!(!whole.prices.is_empty());
                    }
                });
            }
        });
        assert_eq!(files(home.path()), [FILE]);
    }
}
