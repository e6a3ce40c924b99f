//! The network half of the node, over real sockets: the reference backend below, the protocol's own initiator as the satellite.

mod common;
mod greedy;
mod handshake;
mod identity;
mod opening;
mod reads;
mod session;
mod storage;
mod strangers;
mod tls;
