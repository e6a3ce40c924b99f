//! The behaviour every hivemind-host storage backend must show, as a kit of tests.
