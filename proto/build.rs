//! Generates the internal messages and services. protox compiles the .proto, so that nobody needs protoc.

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
    Ok(())
}
