//! Generates the internal messages and services, and those of the query API. protox compiles the .proto, so that nobody needs protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=vivace/internal.proto");
    let descriptors = protox::compile(["vivace/internal.proto"], ["."])?;
    tonic_prost_build::configure()
        // Parts of traces are passed on without being copied.
        .bytes(".vivace.internal.v1.RecentTracePart.traces_data")
        .bytes(".vivace.internal.v1.RecentColumnsPart.arrow")
        .bytes(".vivace.internal.v1.TraceJobPart.traces_data")
        .compile_fds(descriptors)?;
    query_api()
}

fn query_api() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=tempopb/tempo.proto");
    println!("cargo::rerun-if-changed=opentelemetry/proto/common/v1/common.proto");
    let descriptors = protox::compile(["tempopb/tempo.proto"], ["."])?;
    tonic_prost_build::configure()
        .extern_path(".opentelemetry.proto.common.v1", "crate::otlp::common")
        .extern_path(".tempopb.PartialStatus", "crate::tempopb::PartialStatus")
        // The order of names is the same each time.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
