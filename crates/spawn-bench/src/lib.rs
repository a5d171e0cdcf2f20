//! Measures `spawn` beside bare floors and other tools.

pub mod floor;
