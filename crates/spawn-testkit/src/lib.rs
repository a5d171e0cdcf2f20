//! In-memory ports, contract suites and fake programs for tests
