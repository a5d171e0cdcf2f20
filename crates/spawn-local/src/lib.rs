//! The local provider: SQLite ledger, sandboxes, host protocol
