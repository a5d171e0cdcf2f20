//! Objects: bytes under names, kept where they outlive every machine.
//!
//! What a launch ships, and what tasks print. Names are `/`-separated and never begin with `/`.

/// What can go wrong with objects.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ObjectError {
    /// What was attempted, on which object, and what the store said.
    pub what: String,
    /// Whether the same call may succeed later.
    pub is_passing: bool,
    /// The store's own error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
}

/// Bytes under names. What was put is there for every later reader, whoever it is.
pub trait Objects {
    /// Puts an object, replacing one of the same name as a whole.
    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), ObjectError>;

    /// The content of an object; `None` if there is none.
    fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, ObjectError>;

    /// Every object whose name begins with `prefix`, in order of their names.
    fn list(&mut self, prefix: &str) -> Result<Vec<ObjectInfo>, ObjectError>;

    /// Removes an object; one that is not there is fine.
    fn delete(&mut self, name: &str) -> Result<(), ObjectError>;
}
