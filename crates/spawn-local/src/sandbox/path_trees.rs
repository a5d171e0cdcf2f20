//! Programs of the tasks' PATH that lie in a directory that each worker has for itself.
//!
//! A task's `/tmp` is empty, so such programs are shown at another place. The tree that a PATH
//! directory belongs to (`/tmp/venv` for `/tmp/venv/bin`, since programs look for their libraries
//! beside `bin`) is bound to `/spawn/trees/N`, and the tasks' PATH says `/spawn/path/N/bin`.
//!
//! `/spawn/path/N` is a link to the tree if it can be used as it is. Many programs name their old
//! place, though: pip writes `#!/tmp/venv/bin/python` into scripts; a Python environment links to its
//! interpreter and names it in `pyvenv.cfg`. Then `/spawn/path/N` is a directory of links to
//! everything in the tree, but for these few files, which are written anew. So `$0`, what lies
//! beside it and Python's `sys.prefix` are right as well.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use super::path_names::{PathNames, Script};

/// The directories that each worker has for itself.
pub const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Where tasks see the trees as they are.
const TREES: &str = "/spawn/trees";
/// Where tasks see the trees as they can be used.
const PLACES: &str = "/spawn/path";

/// The PATH of tasks, and the trees that are shown at another place for it.
#[derive(Debug, Clone, Default)]
pub struct PathTrees {
    path: String,
    program: Option<String>,
    /// Sorted by their real paths; none lies in another.
    trees: Vec<Tree>,
}

/// A tree that a private directory hides.
#[derive(Debug, Clone)]
struct Tree {
    real: PathBuf,
    /// What is not shown as it is, by its path in the tree.
    changes: BTreeMap<PathBuf, Change>,
}

#[derive(Debug, Clone)]
enum Change {
    /// A file with this content and these permissions.
    File(Vec<u8>, u32),
    /// A link to this place.
    Link(PathBuf),
}

impl PathTrees {
    /// The launching shell's PATH, for tasks that see the machine as it is.
    pub fn unmoved(path: &str) -> PathTrees {
        PathTrees {
            path: path.to_owned(),
            ..PathTrees::default()
        }
    }

    /// Finds what tasks would not see of `path`, the launching shell's PATH, and of `program`, the
    /// word that they run.
    pub fn find(path: &str, program: Option<&str>) -> PathTrees {
        let mut survey = Survey::new();
        let program = program.map(Path::new).filter(|p| p.is_absolute());
        let beside = program.and_then(Path::parent).map(Path::to_owned);
        for dir in std::env::split_paths(path).chain(beside) {
            survey.visit(&dir);
        }
        let mut found = survey.into_trees();
        let dirs = std::env::split_paths(path).map(|dir| found.place_of_dir(&dir).unwrap_or(dir));
        let moved = match std::env::join_paths(dirs) {
            Ok(joined) => joined.to_string_lossy().into_owned(),
            Err(_) => path.to_owned(),
        };
        found.program = program
            .and_then(|p| found.place_of_program(p))
            .map(|p| p.to_string_lossy().into_owned());
        found.path = moved;
        found
    }

    /// The PATH as tasks get it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where tasks find the program that was asked for, if that is another place.
    pub fn program(&self) -> Option<&str> {
        self.program.as_deref()
    }

    /// Where tasks find a program of PATH, if that is another place.
    ///
    /// Only outside of the tasks' world, where the trees still lie at their old places.
    pub fn place_of_program(&self, program: &Path) -> Option<PathBuf> {
        let dir = self.place_of_dir(program.parent()?)?;
        // Its own name stays, whatever it links to: many programs act by their names.
        Some(dir.join(program.file_name()?))
    }

    fn place_of_dir(&self, dir: &Path) -> Option<PathBuf> {
        if self.trees.is_empty() && !is_named_private(dir) {
            return None;
        }
        let real = dir.canonicalize().ok()?;
        match self.place_of(&real) {
            // A link that leads out of a private directory.
            None if is_named_private(dir) && !is_named_private(&real) => Some(real),
            place => place,
        }
    }

    fn place_of(&self, real: &Path) -> Option<PathBuf> {
        let (n, rest) = self.tree_with(real)?;
        let place = Path::new(PLACES).join(n.to_string());
        // Joined to nothing, it would end with a `/`.
        Some(place.components().chain(rest.components()).collect())
    }

    fn tree_with<'a>(&self, real: &'a Path) -> Option<(usize, &'a Path)> {
        let mut trees = self.trees.iter().enumerate();
        trees.find_map(|(n, tree)| Some((n, real.strip_prefix(&tree.real).ok()?)))
    }

    /// The trees to bind, each with its place below a root directory; none usually.
    pub fn binds(&self, root: &Path) -> Vec<(&Path, PathBuf)> {
        let trees = below(root, TREES);
        let places = self.trees.iter().enumerate();
        places
            .map(|(n, tree)| (tree.real.as_path(), trees.join(n.to_string())))
            .collect()
    }

    /// Where a root directory shows what [`PathTrees::write_places`] made.
    pub fn places(&self, root: &Path) -> PathBuf {
        below(root, PLACES)
    }

    /// Makes the directory whose entries are the trees as tasks can use them.
    pub fn write_places(&self, dir: &Path) -> io::Result<()> {
        make_dir(dir)?;
        for (n, tree) in self.trees.iter().enumerate() {
            let shown = Path::new(TREES).join(n.to_string());
            let place = dir.join(n.to_string());
            match tree.changes.is_empty() {
                true => symlink(shown, place)?,
                false => tree.write(Path::new(""), &shown, &place)?,
            }
        }
        Ok(())
    }
}

impl Tree {
    /// Makes the part `rest` of the tree at `place`: links into `shown`, and what is changed.
    fn write(&self, rest: &Path, shown: &Path, place: &Path) -> io::Result<()> {
        make_dir(place)?;
        for entry in fs::read_dir(self.real.join(rest))? {
            let name = entry?.file_name();
            let (inside, at) = (rest.join(&name), place.join(&name));
            match self.changes.get(&inside) {
                Some(Change::Link(to)) => symlink(to, &at)?,
                Some(Change::File(content, mode)) => {
                    fs::write(&at, content)?;
                    fs::set_permissions(&at, fs::Permissions::from_mode(*mode))?;
                }
                None if self.changes.keys().any(|c| c.starts_with(&inside)) => {
                    self.write(&inside, shown, &at)?;
                }
                None => symlink(shown.join(&inside), &at)?,
            }
        }
        Ok(())
    }
}

/// Whether a path lies where every worker has a directory of its own, by its name or in truth.
pub fn is_private(path: &Path) -> bool {
    is_named_private(path)
        || path
            .canonicalize()
            .is_ok_and(|real| is_named_private(&real))
}

fn is_named_private(path: &Path) -> bool {
    PRIVATE.iter().any(|private| path.starts_with(private))
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// What was seen of the directories with programs, before it is known which trees there are.
struct Survey {
    /// Private directories, by all their names.
    private: Vec<PathBuf>,
    visited: BTreeSet<PathBuf>,
    scripts: BTreeMap<PathBuf, Script>,
    /// Links to files, the files that they mean, and whether they lead nowhere from another place.
    links: Vec<(PathBuf, PathBuf, bool)>,
    /// Other names of directories: PATH and scripts may spell them by way of links.
    aliases: BTreeMap<PathBuf, PathBuf>,
}

impl Survey {
    fn new() -> Survey {
        let mut private: Vec<PathBuf> = PRIVATE.iter().map(PathBuf::from).collect();
        let real = PRIVATE.iter().filter_map(|p| fs::canonicalize(p).ok());
        private.extend(real.collect::<Vec<_>>());
        Survey {
            private,
            visited: BTreeSet::new(),
            scripts: BTreeMap::new(),
            links: Vec::new(),
            aliases: BTreeMap::new(),
        }
    }

    fn is_hidden(&self, path: &Path) -> bool {
        self.private.iter().any(|private| path.starts_with(private))
    }

    /// The tree that a directory of programs belongs to.
    fn tree_of<'a>(&self, dir: &'a Path) -> &'a Path {
        match dir.parent() {
            Some(tree) if self.is_hidden(tree) && !self.private.iter().any(|p| p == tree) => tree,
            _ => dir,
        }
    }

    /// Takes in a directory with programs, and those that its programs name, if they are hidden.
    fn visit(&mut self, dir: &Path) {
        let Some(real) = dir.is_absolute().then(|| dir.canonicalize().ok()).flatten() else {
            return;
        };
        if !self.is_hidden(&real) || !real.is_dir() {
            return;
        }
        if real != dir {
            let (named, tree) = (self.tree_of(dir), self.tree_of(&real));
            let alias = match named.canonicalize().is_ok_and(|n| n == tree) {
                true => (named.to_owned(), tree.to_owned()),
                false => (dir.to_owned(), real.clone()),
            };
            self.aliases.extend([alias]);
        }
        if !self.visited.insert(real.clone()) {
            return;
        }
        let tree = self.tree_of(&real).to_owned();
        if tree != real {
            self.take_config(&tree.join(PYVENV));
        }
        let Ok(entries) = fs::read_dir(&real) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_symlink() => self.take_link(path, &tree),
                Ok(kind) if kind.is_file() && entry.file_name() == PYVENV => {
                    self.take_config(&path);
                }
                Ok(kind) if kind.is_file() => self.take_program(path),
                _ => {}
            }
        }
    }

    fn take_program(&mut self, path: PathBuf) {
        let Some(script) = Script::read(&path) else {
            return;
        };
        if let Some(interpreter) = script.interpreter() {
            self.visit_beside(&interpreter);
        }
        self.scripts.insert(path, script);
    }

    /// The file in which a Python environment names the directory of the interpreter that it is of.
    fn take_config(&mut self, path: &Path) {
        let Some(config) = Script::read_text(path) else {
            return;
        };
        if let Some(home) = config.value_of("home") {
            self.visit(&home);
        }
        self.scripts.insert(path.to_owned(), config);
    }

    fn take_link(&mut self, path: PathBuf, tree: &Path) {
        let Ok(real) = path.canonicalize() else {
            return;
        };
        if !real.is_file() {
            return;
        }
        let bound = self.is_bound_to_place(&path, tree);
        if bound {
            self.visit_beside(&real);
        } else if self.is_hidden(&real) && !self.scripts.contains_key(&real) {
            self.take_program(real.clone());
        }
        self.links.push((path, real, bound));
    }

    fn visit_beside(&mut self, program: &Path) {
        if let Some(dir) = program.parent() {
            self.visit(dir);
        }
    }

    /// Whether a link, or one that it leads to, names a hidden place, or leaves its tree from where
    /// it is.
    fn is_bound_to_place(&self, link: &Path, tree: &Path) -> bool {
        let mut at = link.to_owned();
        // As many as the kernel follows.
        for _ in 0..40 {
            let Ok(to) = fs::read_link(&at) else {
                return false;
            };
            let next = normal(&at.with_file_name("").join(&to));
            let leaves = match to.is_absolute() {
                true => self.is_hidden(&next),
                false => at.starts_with(tree) && !next.starts_with(tree),
            };
            if leaves {
                return true;
            }
            at = next;
        }
        false
    }

    /// What to show, and how.
    fn into_trees(self) -> PathTrees {
        let mut found = PathTrees::default();
        let roots: BTreeSet<&Path> = self.visited.iter().map(|d| self.tree_of(d)).collect();
        // Those that hold others come first.
        for root in roots {
            if found.tree_with(root).is_none() {
                found.trees.push(Tree {
                    real: root.to_owned(),
                    changes: BTreeMap::new(),
                });
            }
        }
        // Also trees in others: `/tmp` may be one, and text that says `/tmp` means the task's own.
        let trees = self.visited.iter().map(|dir| self.tree_of(dir));
        let aliases = self.aliases.iter().map(|(n, r)| (n.as_path(), r.as_path()));
        let names = trees.map(|tree| (tree, tree)).chain(aliases);
        let names = names.filter_map(|(name, real)| {
            let everywhere = !self.private.iter().any(|private| private == name);
            Some((name, found.place_of(real)?, everywhere))
        });
        let names = PathNames::new(names);

        let mut changes: BTreeMap<PathBuf, Change> = BTreeMap::new();
        for (path, script) in &self.scripts {
            let Some((n, rest)) = found.tree_with(path) else {
                continue;
            };
            let shown = Path::new(TREES).join(n.to_string()).join(rest);
            if let Some(content) = script.renamed(&names, &shown) {
                changes.insert(path.clone(), Change::File(content, script.mode()));
            }
        }
        for (link, real, bound) in self.links {
            if bound || changes.contains_key(&real) {
                let to = found.place_of(&real).unwrap_or(real);
                changes.insert(link, Change::Link(to));
            }
        }
        for (path, change) in changes {
            if let Some((n, rest)) = found.tree_with(&path) {
                let rest = rest.to_owned();
                found.trees[n].changes.insert(rest, change);
            }
        }
        found
    }
}

const PYVENV: &str = "pyvenv.cfg";

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts: Vec<OsString> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(name) => parts.push(name.to_owned()),
            _ => {}
        }
    }
    Path::new("/").join(parts.iter().collect::<PathBuf>())
}

#[cfg(test)]
#[path = "path_trees_tests.rs"]
mod tests;
