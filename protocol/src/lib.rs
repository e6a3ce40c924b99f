//! What HiveMind satellites and nodes say to each other, without any input or output of its own.

#![deny(missing_docs)]
#![forbid(unsafe_code)]
