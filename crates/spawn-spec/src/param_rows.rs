//! The rows of a parameter file: `params` times `grid`, over `defaults`.

use std::collections::{BTreeMap, HashMap};

use spawn_core::duration::Span;
use spawn_core::instance_type::InstanceType;

use crate::document::{Entry, Node, Value};
use crate::error::SpecError;
use crate::file_problem::FileProblem;
use crate::origin::{Origin, Sourced};
use crate::param_file::{MAX_ROW_BYTES, MAX_ROWS, MAX_VALUE_BYTES, ParamFile, check_parameter};
use crate::param_names::{Names, names};
use crate::position::Position;
use crate::setting_keys::{OF_ROWS, PARAMETERS_IN_ROWS, setting};
use crate::settings_of_file::SettingsFile;
use crate::spec::Row;

/// One task's row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ParamRow {
    pub row: Row,
    /// Few rows have any.
    pub own: Option<Box<OwnSettings>>,
}

/// Settings that a row has of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OwnSettings {
    pub instance_type: Option<Sourced<Vec<InstanceType>>>,
    pub spot: Option<Sourced<bool>>,
    pub spot_max_price: Option<Sourced<f64>>,
    pub ttl: Option<Sourced<Span>>,
    pub timeout: Option<Sourced<Span>>,
}

/// Makes the rows; `taken` are the variables that something else sets.
pub(crate) fn rows(
    from: &ParamFile,
    taken: &BTreeMap<String, Origin>,
    warnings: &mut Vec<String>,
) -> Result<Vec<ParamRow>, SpecError> {
    let grid: Vec<(&Entry, &[Node])> = from
        .grid
        .iter()
        .flatten()
        .map(|entry| match &entry.node.value {
            Value::List(values) => (entry, values.as_slice()),
            _ => (entry, &[][..]),
        })
        .collect();
    let points = grid.iter().try_fold(1_usize, |product, (_, values)| {
        product.checked_mul(values.len())
    });
    let params = from.params.as_deref();
    let count = points.and_then(|points| points.checked_mul(params.map_or(1, <[_]>::len)));
    let Some(points) = points.filter(|_| count.is_some_and(|count| count <= MAX_ROWS)) else {
        return Err(from
            .file
            .refuse(Position::START, FileProblem::TooManyRows { count }));
    };
    let mut builder = Builder {
        file: &from.file,
        taken,
        warnings,
        kinds: HashMap::new(),
        named: HashMap::new(),
    };
    let mut rows = Vec::new();
    let only = Node {
        at: from
            .grid
            .as_ref()
            .map_or(Position::START, |grid| grid[0].at),
        value: Value::Map(Vec::new()),
    };
    for node in params.unwrap_or(std::slice::from_ref(&only)) {
        let Value::Map(entries) = &node.value else {
            let found = node.kind();
            return Err(from.file.refuse(node.at, FileProblem::RowNotAMap { found }));
        };
        for point in 0..points {
            rows.push(builder.row(node.at, &from.defaults, entries, &grid, point)?);
        }
    }
    Ok(rows)
}

/// What a key of rows is.
#[derive(Clone, Debug)]
enum Kind {
    Setting(&'static str),
    Parameter(Names),
}

struct Builder<'a> {
    file: &'a SettingsFile,
    taken: &'a BTreeMap<String, Origin>,
    warnings: &'a mut Vec<String>,
    /// Of every key seen so far: each is judged once.
    kinds: HashMap<String, Kind>,
    named: HashMap<String, Position>,
}

/// A key, where it is, and its value.
type Cell<'n> = (&'n str, Position, &'n Node);

fn cell_of(entry: &Entry) -> Cell<'_> {
    (&entry.key, entry.at, &entry.node)
}

impl Builder<'_> {
    fn row(
        &mut self,
        at: Position,
        defaults: &[Entry],
        entries: &[Entry],
        grid: &[(&Entry, &[Node])],
        point: usize,
    ) -> Result<ParamRow, SpecError> {
        let mut cells: Vec<Cell<'_>> = defaults.iter().map(cell_of).collect();
        let mut places: HashMap<&str, usize> = HashMap::new();
        places.extend(cells.iter().enumerate().map(|(nth, cell)| (cell.0, nth)));
        let own = entries.iter().map(cell_of);
        let mut left = point;
        // The first key varies slowest: digits are taken from the last.
        let mut chosen: Vec<Cell<'_>> = Vec::with_capacity(grid.len());
        for (entry, values) in grid.iter().rev() {
            let node = &values[left % values.len()];
            left /= values.len();
            chosen.push((&entry.key, entry.at, node));
        }
        chosen.reverse();
        if !chosen.is_empty() {
            for entry in entries {
                if let Some(twice) = chosen.iter().find(|cell| cell.0 == entry.key) {
                    let key = twice.0.to_owned();
                    let problem = FileProblem::ParamsAndGrid { key };
                    return Err(self.file.refuse(entry.at, problem));
                }
            }
        }
        for cell in own.chain(chosen) {
            match places.get(cell.0) {
                Some(nth) => cells[*nth] = cell,
                None => cells.push(cell),
            }
        }
        self.build(at, &cells)
    }

    fn build(&mut self, at: Position, cells: &[Cell<'_>]) -> Result<ParamRow, SpecError> {
        let mut row = Row::default();
        let mut own = None;
        let mut variables: HashMap<String, &str> = HashMap::new();
        let mut settings: HashMap<&str, &str> = HashMap::new();
        let mut size = 0;
        for (key, key_at, node) in cells {
            match self.kind(key, *key_at)? {
                Kind::Setting(name) => {
                    if let Some(other) = settings.insert(name, key) {
                        let (key, other) = (key.to_string(), other.to_owned());
                        let problem = FileProblem::SettingTwice { key, other };
                        return Err(self.file.refuse(*key_at, problem));
                    }
                    // Nothing means: as `defaults` say.
                    if node.is_null() {
                        continue;
                    }
                    if name == "name" {
                        let text = self.row_name(key, node)?;
                        size += text.len();
                        let vars = ["PARAM_name", "NAME"].map(str::to_owned);
                        self.add(&mut row, &mut variables, (key, *key_at), vars, &text)?;
                        row.name = Some(text);
                        continue;
                    }
                    let entry = Entry {
                        key: key.to_string(),
                        at: *key_at,
                        node: (*node).clone(),
                    };
                    self.own_setting(own.get_or_insert_default(), name, &entry)?;
                }
                Kind::Parameter(Names { param, short, .. }) => {
                    let text = self.text(key, node)?;
                    size += text.len();
                    let vars = std::iter::once(param).chain(short);
                    self.add(&mut row, &mut variables, (key, *key_at), vars, &text)?;
                    row.params.push((key.to_string(), text));
                }
            }
        }
        if size > MAX_ROW_BYTES {
            return Err(self.file.refuse(at, FileProblem::RowTooLong { size }));
        }
        Ok(ParamRow {
            row,
            own: own.map(Box::new),
        })
    }

    fn kind(&mut self, key: &str, at: Position) -> Result<Kind, SpecError> {
        if let Some(kind) = self.kinds.get(key) {
            return Ok(kind.clone());
        }
        let kind = match setting(key) {
            Some(name) if OF_ROWS.contains(&name) => Kind::Setting(name),
            Some(name) if !PARAMETERS_IN_ROWS.contains(&name) => {
                let key = name.to_owned();
                return Err(self.file.refuse(at, FileProblem::SettingInRow { key }));
            }
            known => {
                match known {
                    Some(name) => self.warnings.push(format!(
                        "{}:{at}: `{key}` is a parameter in rows; the setting `{name}` is for all tasks",
                        self.file.label
                    )),
                    None => check_parameter(self.file, key, at, self.warnings)?,
                }
                let names = names(key);
                if let Some(withheld) = &names.withheld {
                    let param = &names.param;
                    self.warnings.push(format!(
                        "tasks get `{key}` as `{param}` only, since `{withheld}` is not for parameters"
                    ));
                }
                Kind::Parameter(names)
            }
        };
        self.kinds.insert(key.to_owned(), kind.clone());
        Ok(kind)
    }

    fn text(&self, key: &str, node: &Node) -> Result<String, SpecError> {
        let text = node.to_text();
        let key = || key.to_owned();
        let problem = if text.contains('\0') {
            FileProblem::ZeroByte { key: key() }
        } else if text.len() > MAX_VALUE_BYTES {
            let size = text.len();
            FileProblem::ValueTooLong { key: key(), size }
        } else {
            return Ok(text);
        };
        Err(self.file.refuse(node.at, problem))
    }

    fn row_name(&mut self, key: &str, node: &Node) -> Result<String, SpecError> {
        if node.scalar().is_none() {
            let problem = FileProblem::Wrong {
                key: key.to_owned(),
                found: node.kind(),
                expected: "the row's name",
            };
            return Err(self.file.refuse(node.at, problem));
        }
        let name = self.text(key, node)?;
        if name.is_empty() {
            return Err(self.file.refuse(node.at, FileProblem::EmptyRowName));
        }
        match self.named.insert(name.clone(), node.at) {
            None => Ok(name),
            Some(first) => {
                let problem = match first == node.at {
                    true => FileProblem::NameMultiplied { name },
                    false => FileProblem::RowNameTwice { name, first },
                };
                Err(self.file.refuse(node.at, problem))
            }
        }
    }

    fn add<'n>(
        &self,
        row: &mut Row,
        variables: &mut HashMap<String, &'n str>,
        (key, at): (&'n str, Position),
        vars: impl IntoIterator<Item = String>,
        text: &str,
    ) -> Result<(), SpecError> {
        for variable in vars {
            let owned = || key.to_owned();
            if let Some(origin) = self.taken.get(&variable) {
                let environment = origin.to_string();
                let problem = FileProblem::VariableSet {
                    key: owned(),
                    variable,
                    environment,
                };
                return Err(self.file.refuse(at, problem));
            }
            if let Some(other) = variables.insert(variable.clone(), key) {
                let problem = FileProblem::SameVariable {
                    key: owned(),
                    other: other.to_owned(),
                    variable,
                };
                return Err(self.file.refuse(at, problem));
            }
            row.vars.push((variable, text.to_owned()));
        }
        Ok(())
    }

    fn own_setting(
        &self,
        own: &mut OwnSettings,
        name: &'static str,
        entry: &Entry,
    ) -> Result<(), SpecError> {
        match name {
            "instance_type" => own.instance_type = self.file.instance_type(name, entry)?,
            "spot" => own.spot = self.file.spot(name, entry)?,
            "spot_max_price" => own.spot_max_price = self.file.price(name, entry)?,
            "ttl" => own.ttl = self.file.span(name, entry)?,
            "timeout" => own.timeout = self.file.span(name, entry)?,
            _ => unreachable!("`{name}` is in the list of settings of rows and is not read"),
        }
        Ok(())
    }
}
