//! A HiveMind node whose storage is a library you drop in.
