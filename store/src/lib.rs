//! Typed HiveMind collections over any storage backend.
