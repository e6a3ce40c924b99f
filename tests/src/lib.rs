//! End-to-end tests of hivemind-host.
