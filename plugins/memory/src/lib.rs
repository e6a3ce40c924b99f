//! Storage in memory, for tests and throw-away nodes.
