//! The user data.
