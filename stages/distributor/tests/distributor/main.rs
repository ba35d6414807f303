//! The distributor from the outside: real clients over loopback on one side, a log that does as told on the other.

mod connections;
mod grpc;
mod http;
mod limits;
mod support;
