//! Satellites by hand.
